#include "slots.h"

#include <string.h>

static void add(struct built *built, uint32_t word) { built->words[built->count++] = word; }

static void add_step(struct built *built, const uint32_t step[PLUM_STEP__WORDS]) {
    for (uint32_t i = 0; i < PLUM_STEP__WORDS; ++i) add(built, step[i]);
}

static void add_run(struct built *built, uint32_t length, uint32_t first, uint32_t stride) {
    add(built, length);
    add(built, first);
    add(built, stride);
}

static void add_network(struct built *built, const struct model *model) {
    enum { STEPS = 4, RUNS = 3, LABEL_WORDS = 2, CODE = 8, FRONT = 2 };
    const uint32_t steps = 4 * PLUM_NETWORK__WORDS;
    const uint32_t runs = steps + 4 * PLUM_STEP__WORDS * STEPS;
    const uint32_t labels = runs + 4 * PLUM_RUN__WORDS * RUNS;
    const uint32_t data = labels + 4 * LABEL_WORDS + 4;
    uint32_t *head = built->words + built->count;
    built->network = built->count;
    built->count += PLUM_NETWORK__WORDS;
    head[PLUM_NETWORK__MAGIC] = PLUM_NETWORK_MAGIC;
    head[PLUM_NETWORK__VERSION] = PLUM_FORMAT_VERSION;
    head[PLUM_NETWORK__HEADER_BYTES] = data;
    head[PLUM_NETWORK__CLUSTERS] = model->clusters;
    memcpy(head + PLUM_NETWORK__ARRAY, model->array, sizeof model->array);
    head[PLUM_NETWORK__CHANNELS] = 1;
    head[PLUM_NETWORK__HEIGHT] = 3;
    head[PLUM_NETWORK__WIDTH] = 5;
    head[PLUM_NETWORK__BITS] = 7;
    head[PLUM_NETWORK__OUTPUT] = PLUM_OUTPUT_LOGITS;
    head[PLUM_NETWORK__OUT_CHANNELS] = 4;
    head[PLUM_NETWORK__OUT_HEIGHT] = head[PLUM_NETWORK__OUT_WIDTH] = 1;
    head[PLUM_NETWORK__CYCLES] = model->run_ticks;
    head[PLUM_NETWORK__STEPS] = steps;
    head[PLUM_NETWORK__STEP_COUNT] = STEPS;
    head[PLUM_NETWORK__SETUP_COUNT] = 1;
    head[PLUM_NETWORK__LABELS] = labels;
    head[PLUM_NETWORK__LABEL_BYTES] = 4 * LABEL_WORDS;
    head[PLUM_NETWORK__LABEL_COUNT] = 4;
    built->steps = built->count;
    add_step(built, (uint32_t[]){PLUM_STEP_LOAD, 3, PLUM_SPACE_CODE, FRONT, CODE, 0, data, 0});
    add_step(built, (uint32_t[]){PLUM_STEP_INPUT, 3, 0, 2, RUNS, 16, runs, 0});
    add_step(built, (uint32_t[]){PLUM_STEP_RUN, 1, 0, FRONT, 1, 0, 0, 0});
    add_step(built, (uint32_t[]){PLUM_STEP_RESULTS, 1, 0, 0, 4, 0, 0, 0});
    built->runs = built->count;
    add_run(built, 8, 0, 2);
    add_run(built, 1, PLUM_ZEROS, 0);
    add_run(built, 7, 13, UINT32_MAX - 1); /* backwards, two at a time */
    memcpy(built->words + built->count, "a\0b\0\0cd", 8);
    built->count += LABEL_WORDS + 1;
    for (uint32_t i = 0; i < CODE; ++i) add(built, 0x1000u * i + 7u);
}

static void add_images(struct built *built) {
    enum { COUNT = 2, PITCH = 16 };
    const uint32_t crcs = 4 * PLUM_IMAGES__WORDS;
    const uint32_t head[PLUM_IMAGES__WORDS] = {
        [PLUM_IMAGES__MAGIC] = PLUM_IMAGES_MAGIC,
        [PLUM_IMAGES__VERSION] = PLUM_FORMAT_VERSION,
        [PLUM_IMAGES__HEADER_BYTES] = crcs + 4 * COUNT * 2 + 4,
        [PLUM_IMAGES__COUNT] = COUNT,
        [PLUM_IMAGES__CHANNELS] = 1,
        [PLUM_IMAGES__HEIGHT] = 3,
        [PLUM_IMAGES__WIDTH] = 5,
        [PLUM_IMAGES__PITCH] = PITCH,
        [PLUM_IMAGES__DATA] = crcs + 4 * COUNT * 2 + 4,
        [PLUM_IMAGES__CRCS] = crcs,
        [PLUM_IMAGES__LABELS] = crcs + 4 * COUNT,
    };
    built->images = built->count;
    for (uint32_t i = 0; i < PLUM_IMAGES__WORDS; ++i) add(built, head[i]);
    for (uint32_t i = 0; i < COUNT; ++i) add(built, 0);
    for (uint32_t i = 0; i < COUNT; ++i) add(built, i + 2);
    add(built, 0); /* CRC */
    for (uint32_t i = 0; i < COUNT * PITCH / 4; ++i) {
        const uint32_t pixel = 4 * i % PITCH + 1 + 40 * (4 * i / PITCH);
        add(built, pixel | (pixel + 1) << 8 | (pixel + 2) << 16 | (pixel + 3) << 24);
    }
}

void build_slot(struct built *built, const struct model *model) {
    memset(built, 0, sizeof *built);
    uint32_t *words = built->words;
    built->count = PLUM_SLOT__WORDS + 2 * PLUM_ENTRY__WORDS + 1;
    words[PLUM_SLOT__MAGIC] = PLUM_SLOT_MAGIC;
    words[PLUM_SLOT__VERSION] = PLUM_FORMAT_VERSION;
    words[PLUM_SLOT__HEADER_BYTES] = 4 * built->count;
    words[PLUM_SLOT__SEQUENCE] = 5;
    words[PLUM_SLOT__ENTRIES] = 2;
    uint32_t *entry = words + PLUM_SLOT__WORDS;
    entry[PLUM_ENTRY__KIND] = PLUM_KIND_NETWORK;
    entry[PLUM_ENTRY__OFFSET] = 4 * built->count;
    memcpy(entry + PLUM_ENTRY__NAME, "net", 4);
    add_network(built, model);
    entry[PLUM_ENTRY__BYTES] = 4 * built->count - entry[PLUM_ENTRY__OFFSET];
    entry += PLUM_ENTRY__WORDS;
    entry[PLUM_ENTRY__KIND] = PLUM_KIND_IMAGES;
    entry[PLUM_ENTRY__OFFSET] = 4 * built->count;
    memcpy(entry + PLUM_ENTRY__NAME, "set", 4);
    add_images(built);
    entry[PLUM_ENTRY__BYTES] = 4 * built->count - entry[PLUM_ENTRY__OFFSET];
    words[PLUM_SLOT__TOTAL_BYTES] = 4 * built->count;
    seal(built);
}

/* Of words that a test may have led astray: 0 where they are not in the slot. */
static uint32_t sum(const struct built *built, uint64_t first, uint64_t count) {
    if (first > SLOT_WORDS || count > SLOT_WORDS - first) return 0;
    return plum_crc_words(built->words + first, (uint32_t)count);
}

void seal(struct built *built) {
    uint32_t *words = built->words;
    uint32_t *network = words + built->network, *images = words + built->images;
    const uint32_t *load = words + built->steps;
    words[built->steps + PLUM_STEP__CRC] =
        sum(built, (uint64_t)built->network + load[PLUM_STEP__DATA] / 4, load[PLUM_STEP__COUNT]);
    const uint32_t last = network[PLUM_NETWORK__HEADER_BYTES] / 4 - 1;
    network[last] = plum_crc_words(network, last);
    const uint64_t pitch = images[PLUM_IMAGES__PITCH] / 4;
    for (uint32_t i = 0; i < 2; ++i) {
        images[images[PLUM_IMAGES__CRCS] / 4 + i] =
            sum(built, built->images + images[PLUM_IMAGES__DATA] / 4 + i * pitch, pitch);
    }
    const uint32_t end = images[PLUM_IMAGES__HEADER_BYTES] / 4 - 1;
    images[end] = plum_crc_words(images, end);
    for (uint32_t i = 0; i < 2; ++i) {
        uint32_t *entry = words + PLUM_SLOT__WORDS + i * PLUM_ENTRY__WORDS;
        entry[PLUM_ENTRY__CRC] =
            sum(built, entry[PLUM_ENTRY__OFFSET] / 4, entry[PLUM_ENTRY__BYTES] / 4);
    }
    const uint32_t head = words[PLUM_SLOT__HEADER_BYTES] / 4 - 1;
    words[head] = plum_crc_words(words, head);
}
