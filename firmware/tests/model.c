#include "model.h"

#include <string.h>

#define WINDOW (PLUM_MEMORY_TABLE - PLUM_MEMORY_CODE)
#define IDENTITY_BYTES 64u

void model_reset(struct model *model) {
    memset(model, 0, sizeof *model);
    model->clusters = 2;
    model->id = PLUM_ID;
    model->version = PLUM_MAP_VERSION;
    model->run_ticks = 50;
    model->stuck_space = UINT32_MAX;
    for (uint32_t i = 0; i < 4; ++i) model->array[i] = 0x01020304u * (i + 1);
}

volatile uint32_t *model_base(struct model *model) {
    return (volatile uint32_t *)(void *)model;
}

static void advance(struct model *model, uint32_t ticks) {
    model->now += ticks;
    if (!(model->status & PLUM_ACCELERATOR_STATUS_BUSY)) return;
    if (model->run_ticks == UINT32_MAX || (int32_t)(model->now - model->end) < 0) return;
    model->status &= ~PLUM_ACCELERATOR_STATUS_BUSY;
    model->status |= PLUM_ACCELERATOR_STATUS_DONE;
    if (model->faulty_program) model->status |= PLUM_ACCELERATOR_STATUS_ERROR;
    model->cycles = model->run_ticks;
    /* Logits that depend on what was loaded and sent. */
    for (uint32_t i = 0; i < MODEL_RESULT; ++i) {
        model->result[i] = model->activation[0][i] + model->code[0][i] + i;
    }
}

uint32_t model_ticks(void *context) {
    struct model *model = context;
    advance(model, 3);
    return model->now;
}

void model_sleep(void *context, uint32_t ticks) {
    struct model *model = context;
    ++model->sleeps;
    const uint32_t left = model->end - model->now;
    const bool rings = model->interrupt && model->run_ticks != UINT32_MAX;
    advance(model, rings && left < ticks ? left : ticks);
}

/* One half or word of a memory, or NULL where there is none. */
static uint32_t *place(struct model *model, uint32_t offset, uint32_t cluster) {
    const uint32_t space = (offset - PLUM_MEMORY_CODE) / WINDOW;
    const uint32_t index = (offset - PLUM_MEMORY_CODE) % WINDOW / 4;
    switch (space) {
    case PLUM_SPACE_CODE: return index < MODEL_CODE ? &model->code[cluster][index] : NULL;
    case PLUM_SPACE_TABLE: return index < MODEL_TABLE ? &model->table[cluster][index] : NULL;
    case PLUM_SPACE_ACTIVATION:
        return index < 2 * MODEL_ACTIVATION ? &model->activation[cluster][index] : NULL;
    case PLUM_SPACE_RESULT: return index < MODEL_RESULT ? &model->result[index] : NULL;
    case PLUM_SPACE_COUNTER: return index < MODEL_COUNTER ? &model->counter[index] : NULL;
    default: return NULL;
    }
}

static uint32_t identity(const struct model *model, uint32_t index) {
    uint8_t bytes[IDENTITY_BYTES] = {'P', 'L', 'U', 'M', 3, (uint8_t)model->clusters};
    memcpy(bytes + PLUM_IDENTITY_DIGEST, model->array, 16);
    uint32_t word;
    memcpy(&word, bytes + 4 * index, 4);
    return word;
}

static uint32_t read_memory(struct model *model, uint32_t offset) {
    if (offset >= PLUM_MEMORY_IDENTITY && offset < PLUM_MEMORY_IDENTITY + IDENTITY_BYTES) {
        return identity(model, (offset - PLUM_MEMORY_IDENTITY) / 4);
    }
    uint32_t cluster = 0;
    while (cluster < model->clusters && !(model->targets >> cluster & 1)) ++cluster;
    const uint32_t *word =
        cluster < model->clusters ? place(model, offset, cluster) : NULL;
    /* A read is for one cluster. */
    if (word == NULL || model->targets != 1u << cluster) {
        ++model->outside;
        return 0;
    }
    const uint32_t space = (offset - PLUM_MEMORY_CODE) / WINDOW;
    const uint32_t shift = space == PLUM_SPACE_ACTIVATION ? 3 : 2;
    const uint32_t address = (offset - PLUM_MEMORY_CODE) % WINDOW >> shift;
    if (space == PLUM_SPACE_ACTIVATION) {
        /* The high half is that of the word whose low half was read last. */
        if (offset & 4) return model->kept;
        model->kept = word[1];
    }
    if (space == model->stuck_space && address == model->stuck_address) {
        return *word & ~model->stuck_bits;
    }
    return *word;
}

static void write_memory(struct model *model, uint32_t offset, uint32_t value) {
    const uint32_t space = (offset - PLUM_MEMORY_CODE) / WINDOW;
    if (model->targets == 0 || model->targets >> model->clusters || space > PLUM_SPACE_ACTIVATION ||
        place(model, offset, 0) == NULL) {
        ++model->outside;
        return;
    }
    const bool wide = space == PLUM_SPACE_ACTIVATION;
    if (wide && !(offset & 4)) {
        model->kept = value;
        return;
    }
    for (uint32_t cluster = 0; cluster < model->clusters; ++cluster) {
        if (!(model->targets >> cluster & 1)) continue;
        uint32_t *word = place(model, offset, cluster);
        *word = value;
        if (wide) word[-1] = model->kept;
    }
}

uint32_t plum_io_read(volatile uint32_t *base, uint32_t offset) {
    struct model *model = (struct model *)(void *)(uintptr_t)base;
    advance(model, 1);
    if (offset >= PLUM_MEMORY_CODE) {
        if ((model->status & PLUM_ACCELERATOR_STATUS_BUSY) && offset < PLUM_MEMORY_IDENTITY) {
            model->status |= PLUM_ACCELERATOR_STATUS_DENIED;
            ++model->outside;
            return 0;
        }
        return read_memory(model, offset);
    }
    switch (offset) {
    case PLUM_ACCELERATOR_ID: return model->id;
    case PLUM_ACCELERATOR_VERSION:
        return model->version | model->clusters << PLUM_ACCELERATOR_VERSION_CLUSTERS_SHIFT;
    case PLUM_ACCELERATOR_STATUS: return model->status;
    case PLUM_ACCELERATOR_CYCLES: return model->cycles;
    case PLUM_ACCELERATOR_CODE_WORDS: return MODEL_CODE;
    case PLUM_ACCELERATOR_TABLE_WORDS: return MODEL_TABLE;
    case PLUM_ACCELERATOR_ACTIVATION_WORDS: return MODEL_ACTIVATION;
    case PLUM_ACCELERATOR_RESULT_WORDS: return MODEL_RESULT;
    case PLUM_ACCELERATOR_COUNTER_WORDS: return MODEL_COUNTER;
    case PLUM_ACCELERATOR_LAYER_WORDS: return MODEL_LAYER_WORDS;
    default: ++model->outside; return 0;
    }
}

static void command(struct model *model, uint32_t value) {
    if (value & PLUM_ACCELERATOR_CONTROL_ABORT) {
        if (!(model->status & PLUM_ACCELERATOR_STATUS_BUSY)) return;
        model->status = PLUM_ACCELERATOR_STATUS_DONE;
        ++model->aborts;
    } else if (value & PLUM_ACCELERATOR_CONTROL_START) {
        if ((model->status & PLUM_ACCELERATOR_STATUS_BUSY) || model->layers == 0) {
            model->status |= PLUM_ACCELERATOR_STATUS_DENIED;
            return;
        }
        model->status = PLUM_ACCELERATOR_STATUS_BUSY;
        model->end = model->now + model->run_ticks;
        ++model->runs;
    }
}

void plum_io_write(volatile uint32_t *base, uint32_t offset, uint32_t value) {
    struct model *model = (struct model *)(void *)(uintptr_t)base;
    advance(model, 1);
    if (offset >= PLUM_MEMORY_CODE) {
        if (model->status & PLUM_ACCELERATOR_STATUS_BUSY) {
            model->status |= PLUM_ACCELERATOR_STATUS_DENIED;
            ++model->outside;
            return;
        }
        write_memory(model, offset, value);
        return;
    }
    switch (offset) {
    case PLUM_ACCELERATOR_STATUS:
        model->status &= ~(value & (PLUM_ACCELERATOR_STATUS_DONE | PLUM_ACCELERATOR_STATUS_DENIED));
        break;
    case PLUM_ACCELERATOR_CONTROL: command(model, value); break;
    case PLUM_ACCELERATOR_PROGRAM: model->program = value; break;
    case PLUM_ACCELERATOR_LAYERS: model->layers = value; break;
    case PLUM_ACCELERATOR_TARGETS: model->targets = value; break;
    case PLUM_ACCELERATOR_INTERRUPT: model->interrupt = value & 1; break;
    default: ++model->outside; break;
    }
}
