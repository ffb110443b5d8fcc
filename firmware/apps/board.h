/* What both applications do with the board: one accelerator, two slots, one network, some images. */
#ifndef BOARD_H
#define BOARD_H

#include "soc.h"

/* Images up to this size are copied to RAM, which is quicker to read than the flash; larger ones cannot
 * be sent over the line. */
#define BOARD_PIXEL_BYTES 4096u

struct board {
    struct plum_platform platform;
    struct plum_device device;
    plum_error found; /* of the device */
    struct plum_slot slot;
    uint32_t slot_index;
    struct plum_network network; /* of that slot, loaded if device.network is not NULL */
    struct plum_images images;   /* of that slot; count 0 where it has none */
    uint32_t next;               /* image that a button classifies */
    uint32_t pixels[BOARD_PIXEL_BYTES / 4];
};

/* Find the accelerator and wake the flash; says what there is. */
void board_open(struct board *board);

/* Open a slot, and load the first network of it; says what it found, or the error. */
plum_error board_load_slot(struct board *board, uint32_t index);
/* The newest good slot; the other one where its network cannot be loaded. */
plum_error board_load(struct board *board);

/* Images of the slot, and what the network made of each; says each, or its error. */
struct tally {
    uint32_t done;              /* classified */
    uint32_t right;             /* as labelled */
    uint32_t expected;          /* with the checksum that stands in the slot */
    uint32_t failed;            /* with an error */
    bool labelled, comparable;  /* the slot has labels, checksums */
};
void board_run(struct board *board, uint32_t first, uint32_t count, struct tally *tally);

void say_error(plum_error error);

#endif
