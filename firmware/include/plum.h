/* Driver of the plum_hw accelerator, for any processor that reaches its registers.
 *
 * Nothing here allocates, and there are no variables of the driver's own: all state is in structures
 * that the caller keeps. Functions return PLUM_OK or say what went wrong. They expect a little-endian
 * processor, and a flash image that can be read as memory (a mapped flash, or a copy).
 *
 *     struct plum_device device;
 *     struct plum_slot slot;
 *     struct plum_network network;
 *     struct plum_output output = {.words = logits, .bytes = sizeof logits};
 *     plum_error error = plum_open(&device, registers, &platform);
 *     if (!error) error = plum_slot_open(&slot, flash, flash_bytes);
 *     if (!error) error = plum_network_find(&network, &slot, NULL);
 *     if (!error) error = plum_load(&device, &network);
 *     if (!error) error = plum_classify(&device, pixels, pixel_bytes, &output);
 *
 * Registers are described in docs/registers.md, the flash image in docs/firmware.md.
 */
#ifndef PLUM_H
#define PLUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plum_format.h"
#include "plum_regs.h"

#ifdef __cplusplus
extern "C" {
#endif

#define PLUM_MAX_CLUSTERS 16u

/* What can go wrong. plum_error_name and plum_error_text have words for each. */
typedef enum plum_error {
    PLUM_OK = 0,
    PLUM_NO_DEVICE,        /* no accelerator answers at this address */
    PLUM_WRONG_MAP,        /* its registers are of another version than this driver */
    PLUM_BUSY,             /* a run is in progress */
    PLUM_TIMEOUT,          /* a run did not end in time; it was aborted */
    PLUM_PROGRAM_FAULT,    /* the array reports that the program is wrong */
    PLUM_BAD_ADDRESS,      /* outside the memory, or no such cluster or layer */
    PLUM_MEMORY_FAULT,     /* a memory does not hold what was written */
    PLUM_NO_SLOT,          /* there is no flash image here */
    PLUM_WRONG_FORMAT,     /* the flash image has another format version */
    PLUM_BAD_CHECKSUM,     /* what was read does not have its checksum */
    PLUM_BAD_IMAGE,        /* lengths or places in the flash image contradict each other */
    PLUM_NOT_FOUND,        /* the flash image has no such section */
    PLUM_WRONG_ARRAY,      /* the network was compiled for another array */
    PLUM_WRONG_SHAPE,      /* the image has another shape than the network takes */
    PLUM_BAD_PIXEL,        /* a pixel is larger than the network takes */
    PLUM_NOT_LOADED,       /* no network is loaded */
    PLUM_SMALL_BUFFER,     /* the caller's buffer does not hold the output */
    PLUM_ERROR_COUNT
} plum_error;

const char *plum_error_name(plum_error error); /* such as "BAD_CHECKSUM" */
const char *plum_error_text(plum_error error); /* a line for people */

/* ---- registers ------------------------------------------------------------------------------- */

/* Where registers cannot be read through a pointer, define PLUM_CUSTOM_IO and these two functions. */
#ifdef PLUM_CUSTOM_IO
uint32_t plum_io_read(volatile uint32_t *base, uint32_t offset);
void plum_io_write(volatile uint32_t *base, uint32_t offset, uint32_t value);
#else
static inline uint32_t plum_io_read(volatile uint32_t *base, uint32_t offset) {
    return *(volatile uint32_t *)((volatile uint8_t *)base + offset);
}
static inline void plum_io_write(volatile uint32_t *base, uint32_t offset, uint32_t value) {
    *(volatile uint32_t *)((volatile uint8_t *)base + offset) = value;
}
#endif

/* What the driver needs of its surroundings. */
struct plum_platform {
    /* A clock of any rate that counts up and wraps. */
    uint32_t (*ticks)(void *context);
    /* Until the accelerator's interrupt, or so many ticks; may return earlier. NULL: poll. */
    void (*sleep)(void *context, uint32_t ticks);
    void *context;
    /* Ticks that one run may take. */
    uint32_t run_ticks;
};

struct plum_network;

/* One accelerator. */
struct plum_device {
    volatile uint32_t *base;
    const struct plum_platform *platform;
    uint32_t clusters;
    uint32_t code_words, table_words, activation_words, result_words, counter_words, layer_words;
    uint32_t array[4];                  /* digest of its configuration */
    const struct plum_network *network; /* that is loaded, or NULL */
};

/* Find an accelerator at `base` and learn what it is; a run that somebody left on it is aborted.
 * `platform` must live as long as `device`. */
plum_error plum_open(struct plum_device *device, volatile uint32_t *base,
                     const struct plum_platform *platform);

/* Words of a memory of cluster `cluster`, or, writing, of those whose bits are set in `targets`.
 * Words of PLUM_SPACE_ACTIVATION have 8 bytes: two 32-bit words each, low half first. */
plum_error plum_write(struct plum_device *device, uint32_t space, uint32_t targets,
                      uint32_t address, const uint32_t *words, uint32_t count);
plum_error plum_read(struct plum_device *device, uint32_t space, uint32_t cluster, uint32_t address,
                     uint32_t *words, uint32_t count);

/* Run `layers` layers from `program` on, to the end. Adds their clock cycles to *cycles. */
plum_error plum_run(struct plum_device *device, uint32_t program, uint32_t layers,
                    uint64_t *cycles);
plum_error plum_start(struct plum_device *device, uint32_t program, uint32_t layers);
plum_error plum_wait(struct plum_device *device, uint64_t *cycles);
void plum_abort(struct plum_device *device);

/* Counters of the last run: `index` is PLUM_COUNTER_CYCLES and so on; or of its layer `index`. */
plum_error plum_counter(struct plum_device *device, uint32_t index, uint32_t *value);
plum_error plum_layer_cycles(struct plum_device *device, uint32_t layer, uint32_t *value);

/* Write and read back every word of a memory of one cluster (PLUM_SPACE_CODE, _TABLE or
 * _ACTIVATION), twice. What it held is lost, and no network is loaded any more. *address is the bad
 * word with PLUM_MEMORY_FAULT. */
plum_error plum_memory_test(struct plum_device *device, uint32_t space, uint32_t cluster,
                            uint32_t *address);

/* ---- checksums ------------------------------------------------------------------------------- */

/* CRC-32 of words, one after the other: src/crc32.c, or inline functions of the same names in a header
 * that PLUM_CRC_HEADER names, where hardware does it (board/crc32_hardware.h). At most one is under
 * way at a time. */
struct plum_crc {
    uint32_t state;
};
#ifdef PLUM_CRC_HEADER
#include PLUM_CRC_HEADER
#else
void plum_crc_begin(struct plum_crc *crc);
void plum_crc_word(struct plum_crc *crc, uint32_t word);
uint32_t plum_crc_end(struct plum_crc *crc);
#endif
uint32_t plum_crc_words(const uint32_t *words, uint32_t count);

/* ---- flash images ---------------------------------------------------------------------------- */

/* A slot: nothing of it is copied, so the memory must stay as it is. */
struct plum_slot {
    const uint32_t *words;
    uint32_t bytes;
    uint32_t sequence;
    uint32_t entries;
};

struct plum_section {
    uint32_t kind;
    const char *name;
    const uint32_t *words;
    uint32_t bytes;
    uint32_t crc;
};

/* Check header and directory of the slot at `words`, which has room for `bytes` bytes. */
plum_error plum_slot_open(struct plum_slot *slot, const uint32_t *words, uint32_t bytes);
plum_error plum_slot_section(const struct plum_slot *slot, uint32_t index,
                             struct plum_section *section);
/* The first section of that kind, and with that name unless it is NULL. */
plum_error plum_slot_find(const struct plum_slot *slot, uint32_t kind, const char *name,
                          struct plum_section *section);
/* Checksums of all sections. */
plum_error plum_slot_verify(const struct plum_slot *slot);

/* A network in a slot. */
struct plum_network {
    const char *name;
    const uint32_t *words;
    uint32_t bytes;
    uint32_t channels, height, width, bits; /* of an image */
    uint32_t pixels;                        /* bytes of an image */
    uint32_t output_kind;                   /* PLUM_OUTPUT_LOGITS or PLUM_OUTPUT_MAP */
    uint32_t output_bytes;                  /* of the output; of logits four each */
    uint32_t outputs;                       /* logits, or channels of a map */
    uint64_t predicted_cycles;              /* of an image */
    uint32_t step_count, setup_count;
    const uint32_t *steps;
    const char *labels; /* or NULL */
    uint32_t label_bytes, label_count;
};

/* Find a network (the first one if `name` is NULL), and check all of its header, so that nothing of
 * it can lead outside the slot. Whether it is for this array is for plum_load to say. */
plum_error plum_network_find(struct plum_network *network, const struct plum_slot *slot,
                             const char *name);
/* Name of a class; "" where the network has none. */
const char *plum_label(const struct plum_network *network, uint32_t index);

/* Make the device ready for a network: check that it was made for this array, and do what is done
 * once. `network` must stay where it is as long as it is used. */
plum_error plum_load(struct plum_device *device, const struct plum_network *network);

/* Where an output goes. */
struct plum_output {
    uint32_t *words; /* logits as int32_t; a map as bytes in (C, H, W) order, the last word filled
                        up with zeros; NULL: only the checksum is wanted */
    uint32_t bytes;  /* room there */
    uint32_t crc;    /* CRC-32 of those words */
    uint32_t best;   /* the class with the largest logit, the lowest of equal ones; of maps 0 */
    uint64_t cycles; /* of the array */
};

/* Send an image, uint8 in (C, H, W) order, through the network that is loaded. */
plum_error plum_classify(struct plum_device *device, const uint8_t *pixels, uint32_t bytes,
                         struct plum_output *output);

/* Images in a slot. */
struct plum_images {
    const char *name;
    const uint32_t *words;
    uint32_t bytes;
    uint32_t count, channels, height, width, pitch;
    uint32_t pixels; /* bytes of an image */
    const uint32_t *crcs, *labels, *expected;
};

plum_error plum_images_find(struct plum_images *images, const struct plum_slot *slot,
                            const char *name);
/* The pixels of one image, its checksum checked. */
plum_error plum_image(const struct plum_images *images, uint32_t index, const uint8_t **pixels);
/* The same as a copy, which has room for images->pitch bytes: each word is read once. */
plum_error plum_image_copy(const struct plum_images *images, uint32_t index, uint32_t *copy);

#ifdef __cplusplus
}
#endif

#endif
