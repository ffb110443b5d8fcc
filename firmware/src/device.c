/* The accelerator: its registers, memories and runs. */
#include "image.h"

static uint32_t get(const struct plum_device *device, uint32_t offset) {
    return plum_io_read(device->base, offset);
}

static void set(const struct plum_device *device, uint32_t offset, uint32_t value) {
    plum_io_write(device->base, offset, value);
}

static bool busy(const struct plum_device *device) {
    return (get(device, PLUM_ACCELERATOR_STATUS) & PLUM_ACCELERATOR_STATUS_BUSY) != 0;
}

static uint32_t space_words(const struct plum_device *device, uint32_t space) {
    switch (space) {
    case PLUM_SPACE_CODE: return device->code_words;
    case PLUM_SPACE_TABLE: return device->table_words;
    case PLUM_SPACE_ACTIVATION: return device->activation_words;
    case PLUM_SPACE_RESULT: return device->result_words;
    case PLUM_SPACE_COUNTER: return device->counter_words;
    default: return 0;
    }
}

static uint32_t space_offset(uint32_t space) {
    return PLUM_MEMORY_CODE + space * (PLUM_MEMORY_TABLE - PLUM_MEMORY_CODE);
}

/* A word of the memory has two 32-bit words to the power of this. Small processors cannot divide. */
static uint32_t word_shift(uint32_t space) { return space == PLUM_SPACE_ACTIVATION ? 1 : 0; }

plum_error plum_open(struct plum_device *device, volatile uint32_t *base,
                     const struct plum_platform *platform) {
    *device = (struct plum_device){.base = base, .platform = platform};
    if (get(device, PLUM_ACCELERATOR_ID) != PLUM_ID) return PLUM_NO_DEVICE;
    const uint32_t version = get(device, PLUM_ACCELERATOR_VERSION);
    if ((version & PLUM_ACCELERATOR_VERSION_MAP) != PLUM_MAP_VERSION) return PLUM_WRONG_MAP;
    plum_abort(device);
    device->clusters = (version & PLUM_ACCELERATOR_VERSION_CLUSTERS) >>
                       PLUM_ACCELERATOR_VERSION_CLUSTERS_SHIFT;
    if (device->clusters == 0 || device->clusters > PLUM_MAX_CLUSTERS) return PLUM_NO_DEVICE;
    device->code_words = get(device, PLUM_ACCELERATOR_CODE_WORDS);
    device->table_words = get(device, PLUM_ACCELERATOR_TABLE_WORDS);
    device->activation_words = get(device, PLUM_ACCELERATOR_ACTIVATION_WORDS);
    device->result_words = get(device, PLUM_ACCELERATOR_RESULT_WORDS);
    device->counter_words = get(device, PLUM_ACCELERATOR_COUNTER_WORDS);
    device->layer_words = get(device, PLUM_ACCELERATOR_LAYER_WORDS);
    for (uint32_t i = 0; i < 4; ++i) {
        /* The low half first: it brings the high one with it. */
        device->array[i] = get(device, PLUM_MEMORY_IDENTITY + PLUM_IDENTITY_DIGEST + 4 * i);
    }
    set(device, PLUM_ACCELERATOR_INTERRUPT, platform->sleep != NULL);
    return PLUM_OK;
}

static plum_error check_range(const struct plum_device *device, uint32_t space, uint32_t address,
                              uint32_t count) {
    const uint32_t words = space_words(device, space);
    const uint32_t shift = word_shift(space);
    if (count >> shift << shift != count) return PLUM_BAD_ADDRESS;
    if (address > words || count >> shift > words - address) return PLUM_BAD_ADDRESS;
    return busy(device) ? PLUM_BUSY : PLUM_OK;
}

plum_error plum_begin_write(struct plum_device *device, uint32_t space, uint32_t targets,
                            uint32_t address, uint32_t count, uint32_t *offset) {
    if (space > PLUM_SPACE_ACTIVATION) return PLUM_BAD_ADDRESS;
    if (targets == 0 || targets >> device->clusters) return PLUM_BAD_ADDRESS;
    const plum_error error = check_range(device, space, address, count);
    if (error) return error;
    set(device, PLUM_ACCELERATOR_TARGETS, targets);
    *offset = space_offset(space) + (address << word_shift(space) << 2);
    return PLUM_OK;
}

plum_error plum_write(struct plum_device *device, uint32_t space, uint32_t targets,
                      uint32_t address, const uint32_t *words, uint32_t count) {
    uint32_t offset;
    const plum_error error = plum_begin_write(device, space, targets, address, count, &offset);
    if (error) return error;
    for (; count; --count, offset += 4) set(device, offset, *words++);
    return PLUM_OK;
}

plum_error plum_read(struct plum_device *device, uint32_t space, uint32_t cluster, uint32_t address,
                     uint32_t *words, uint32_t count) {
    if (cluster >= device->clusters) return PLUM_BAD_ADDRESS;
    const plum_error error = check_range(device, space, address, count);
    if (error) return error;
    set(device, PLUM_ACCELERATOR_TARGETS, 1u << cluster);
    uint32_t offset = space_offset(space) + (address << word_shift(space) << 2);
    for (; count; --count, offset += 4) *words++ = get(device, offset);
    return PLUM_OK;
}

plum_error plum_start(struct plum_device *device, uint32_t program, uint32_t layers) {
    if (busy(device)) return PLUM_BUSY;
    const uint64_t end = program + (uint64_t)layers * device->layer_words;
    if (layers == 0 || end > device->code_words) return PLUM_BAD_ADDRESS;
    set(device, PLUM_ACCELERATOR_PROGRAM, program);
    set(device, PLUM_ACCELERATOR_LAYERS, layers);
    set(device, PLUM_ACCELERATOR_STATUS, PLUM_ACCELERATOR_STATUS_DENIED);
    set(device, PLUM_ACCELERATOR_CONTROL, PLUM_ACCELERATOR_CONTROL_START);
    return PLUM_OK;
}

plum_error plum_wait(struct plum_device *device, uint64_t *cycles) {
    const struct plum_platform *platform = device->platform;
    const uint32_t begin = platform->ticks(platform->context);
    for (;;) {
        const uint32_t status = get(device, PLUM_ACCELERATOR_STATUS);
        if (!(status & PLUM_ACCELERATOR_STATUS_BUSY)) {
            /* Ends the interrupt. */
            set(device, PLUM_ACCELERATOR_STATUS, PLUM_ACCELERATOR_STATUS_DONE);
            if (status & PLUM_ACCELERATOR_STATUS_ERROR) return PLUM_PROGRAM_FAULT;
            if (cycles) *cycles += get(device, PLUM_ACCELERATOR_CYCLES);
            return PLUM_OK;
        }
        const uint32_t waited = platform->ticks(platform->context) - begin;
        if (waited >= platform->run_ticks) {
            plum_abort(device);
            return PLUM_TIMEOUT;
        }
        if (platform->sleep) platform->sleep(platform->context, platform->run_ticks - waited);
    }
}

plum_error plum_run(struct plum_device *device, uint32_t program, uint32_t layers,
                    uint64_t *cycles) {
    const plum_error error = plum_start(device, program, layers);
    return error ? error : plum_wait(device, cycles);
}

void plum_abort(struct plum_device *device) {
    set(device, PLUM_ACCELERATOR_CONTROL, PLUM_ACCELERATOR_CONTROL_ABORT);
    set(device, PLUM_ACCELERATOR_STATUS,
        PLUM_ACCELERATOR_STATUS_DONE | PLUM_ACCELERATOR_STATUS_DENIED);
}

plum_error plum_counter(struct plum_device *device, uint32_t index, uint32_t *value) {
    return plum_read(device, PLUM_SPACE_COUNTER, 0, index, value, 1);
}

plum_error plum_layer_cycles(struct plum_device *device, uint32_t layer, uint32_t *value) {
    if (layer > device->counter_words) return PLUM_BAD_ADDRESS;
    return plum_counter(device, PLUM_COUNTER_LAYERS + layer, value);
}

/* What a word of a memory is tested with: all words differ, and the second round has all bits of the
 * first inverted. */
static uint32_t pattern(uint32_t place, uint32_t round) {
    const uint32_t mixed = place ^ place << 7 ^ place << 16 ^ 0x5a3c96e1u;
    return round ? ~mixed : mixed;
}

plum_error plum_memory_test(struct plum_device *device, uint32_t space, uint32_t cluster,
                            uint32_t *address) {
    enum { BLOCK = 16 };
    *address = 0;
    if (space > PLUM_SPACE_ACTIVATION || cluster >= device->clusters) return PLUM_BAD_ADDRESS;
    const uint32_t shift = word_shift(space), end = space_words(device, space) << shift;
    uint32_t words[BLOCK];
    device->network = NULL;
    for (uint32_t round = 0; round < 4; ++round) {
        /* Written, read, and both with all bits inverted. */
        const bool reads = round & 1;
        for (uint32_t first = 0; first < end; first += BLOCK) {
            const uint32_t count = end - first < BLOCK ? end - first : BLOCK;
            for (uint32_t i = 0; !reads && i < count; ++i) words[i] = pattern(first + i, round / 2);
            const plum_error error =
                reads ? plum_read(device, space, cluster, first >> shift, words, count)
                      : plum_write(device, space, 1u << cluster, first >> shift, words, count);
            if (error) return error;
            for (uint32_t i = 0; reads && i < count; ++i) {
                *address = (first + i) >> shift;
                if (words[i] != pattern(first + i, round / 2)) return PLUM_MEMORY_FAULT;
            }
        }
    }
    return PLUM_OK;
}
