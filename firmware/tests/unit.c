/* Tests of the driver against the register model: one for each thing that can go wrong, and what goes
 * right. Prints a line a test; exit code 1 when one failed. "plant": with a fault planted in the
 * model, which must be found. */
#include <stdio.h>
#include <string.h>

#include "slots.h"

static unsigned failures;
static const char *running;

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            printf("%s: line %d: not so: %s\n", running, __LINE__, #condition); \
            ++failures; \
        } \
    } while (0)

struct bench {
    struct model model;
    struct plum_platform platform;
    struct plum_device device;
    struct built built;
    struct plum_slot slot;
    struct plum_network network;
    struct plum_images images;
};

static struct bench bench;
static bool planted;

static void set_up(void) {
    memset(&bench, 0, sizeof bench);
    model_reset(&bench.model);
    if (planted) ++bench.model.run_ticks;
    bench.platform = (struct plum_platform){
        .ticks = model_ticks, .sleep = model_sleep, .context = &bench.model, .run_ticks = 1000};
    CHECK(plum_open(&bench.device, model_base(&bench.model), &bench.platform) == PLUM_OK);
    build_slot(&bench.built, &bench.model);
}

static plum_error find(void) {
    plum_error error = plum_slot_open(&bench.slot, bench.built.words, 4 * bench.built.count);
    if (!error) error = plum_network_find(&bench.network, &bench.slot, NULL);
    if (!error) error = plum_images_find(&bench.images, &bench.slot, NULL);
    return error;
}

static uint32_t *head(uint32_t index) { return &bench.built.words[bench.built.network + index]; }
static uint32_t *step(uint32_t number, uint32_t index) {
    return &bench.built.words[bench.built.steps + number * PLUM_STEP__WORDS + index];
}
static uint32_t *run_word(uint32_t number, uint32_t index) {
    return &bench.built.words[bench.built.runs + number * PLUM_RUN__WORDS + index];
}
static uint32_t *images_head(uint32_t index) {
    return &bench.built.words[bench.built.images + index];
}
static uint32_t *entry(uint32_t number, uint32_t index) {
    return &bench.built.words[PLUM_SLOT__WORDS + number * PLUM_ENTRY__WORDS + index];
}

/* ---- device ---------------------------------------------------------------------------------- */

static void opens(void) {
    CHECK(bench.device.clusters == 2);
    CHECK(memcmp(bench.device.array, bench.model.array, sizeof bench.model.array) == 0);
    CHECK(bench.device.code_words == MODEL_CODE);
    CHECK(bench.device.layer_words == MODEL_LAYER_WORDS);
    CHECK(bench.model.interrupt == 1);
    bench.model.id ^= 1;
    CHECK(plum_open(&bench.device, model_base(&bench.model), &bench.platform) == PLUM_NO_DEVICE);
    bench.model.id ^= 1;
    bench.model.version += 1;
    CHECK(plum_open(&bench.device, model_base(&bench.model), &bench.platform) == PLUM_WRONG_MAP);
    bench.model.version -= 1;
    bench.model.clusters = 17;
    CHECK(plum_open(&bench.device, model_base(&bench.model), &bench.platform) == PLUM_NO_DEVICE);
}

static void opening_stops_a_run(void) {
    bench.model.run_ticks = UINT32_MAX;
    CHECK(plum_start(&bench.device, 0, 1) == PLUM_OK);
    CHECK(plum_open(&bench.device, model_base(&bench.model), &bench.platform) == PLUM_OK);
    CHECK(bench.model.aborts == 1);
}

static void memories(void) {
    const uint32_t words[4] = {1, 2, 3, 0xfffffffcu};
    uint32_t back[4];
    CHECK(plum_write(&bench.device, PLUM_SPACE_CODE, 3, MODEL_CODE - 4, words, 4) == PLUM_OK);
    CHECK(memcmp(bench.model.code[0] + MODEL_CODE - 4, words, 16) == 0);
    CHECK(memcmp(bench.model.code[1] + MODEL_CODE - 4, words, 16) == 0);
    CHECK(plum_write(&bench.device, PLUM_SPACE_ACTIVATION, 2, 5, words, 4) == PLUM_OK);
    CHECK(bench.model.activation[0][10] == 0 && bench.model.activation[1][10] == 1);
    CHECK(plum_read(&bench.device, PLUM_SPACE_ACTIVATION, 1, 5, back, 4) == PLUM_OK);
    CHECK(memcmp(back, words, 16) == 0);
    /* Outside, or half a word. */
    CHECK(plum_write(&bench.device, PLUM_SPACE_CODE, 1, MODEL_CODE - 3, words, 4) ==
          PLUM_BAD_ADDRESS);
    CHECK(plum_write(&bench.device, PLUM_SPACE_CODE, 1, UINT32_MAX, words, 2) == PLUM_BAD_ADDRESS);
    CHECK(plum_write(&bench.device, PLUM_SPACE_ACTIVATION, 1, 0, words, 3) == PLUM_BAD_ADDRESS);
    CHECK(plum_write(&bench.device, PLUM_SPACE_RESULT, 1, 0, words, 1) == PLUM_BAD_ADDRESS);
    CHECK(plum_write(&bench.device, 9, 1, 0, words, 1) == PLUM_BAD_ADDRESS);
    CHECK(plum_write(&bench.device, PLUM_SPACE_CODE, 0, 0, words, 1) == PLUM_BAD_ADDRESS);
    CHECK(plum_write(&bench.device, PLUM_SPACE_CODE, 4, 0, words, 1) == PLUM_BAD_ADDRESS);
    CHECK(plum_read(&bench.device, PLUM_SPACE_CODE, 2, 0, back, 1) == PLUM_BAD_ADDRESS);
    CHECK(plum_read(&bench.device, PLUM_SPACE_COUNTER, 0, MODEL_COUNTER, back, 1) ==
          PLUM_BAD_ADDRESS);
    CHECK(bench.model.outside == 0);
}

static void runs(void) {
    uint64_t cycles = 7;
    CHECK(plum_run(&bench.device, 0, 1, &cycles) == PLUM_OK);
    CHECK(cycles == 57 && bench.model.runs == 1 && bench.model.sleeps > 0);
    CHECK(!(bench.model.status & PLUM_ACCELERATOR_STATUS_DONE)); /* the interrupt is over */
    bench.platform.sleep = NULL;
    CHECK(plum_run(&bench.device, 0, 1, NULL) == PLUM_OK);
    CHECK(plum_start(&bench.device, 0, 0) == PLUM_BAD_ADDRESS);
    CHECK(plum_start(&bench.device, MODEL_CODE - MODEL_LAYER_WORDS + 1, 1) == PLUM_BAD_ADDRESS);
    CHECK(plum_start(&bench.device, 0, MODEL_CODE / MODEL_LAYER_WORDS + 1) == PLUM_BAD_ADDRESS);
    CHECK(plum_start(&bench.device, 0, UINT32_MAX) == PLUM_BAD_ADDRESS);
    CHECK(plum_start(&bench.device, UINT32_MAX, 1) == PLUM_BAD_ADDRESS);
    CHECK(bench.model.runs == 2);
    CHECK(plum_start(&bench.device, MODEL_CODE - MODEL_LAYER_WORDS, 1) == PLUM_OK);
}

static void busy(void) {
    uint32_t word = 0;
    bench.model.run_ticks = UINT32_MAX;
    CHECK(plum_start(&bench.device, 0, 1) == PLUM_OK);
    CHECK(plum_start(&bench.device, 0, 1) == PLUM_BUSY);
    CHECK(plum_write(&bench.device, PLUM_SPACE_CODE, 1, 0, &word, 1) == PLUM_BUSY);
    CHECK(plum_read(&bench.device, PLUM_SPACE_CODE, 0, 0, &word, 1) == PLUM_BUSY);
    CHECK(bench.model.outside == 0);
}

static void times_out(void) {
    bench.model.run_ticks = UINT32_MAX;
    CHECK(plum_run(&bench.device, 0, 1, NULL) == PLUM_TIMEOUT);
    CHECK(bench.model.aborts == 1);
    bench.model.run_ticks = 10;
    bench.model.now = UINT32_MAX - 5; /* the clock wraps */
    CHECK(plum_run(&bench.device, 0, 1, NULL) == PLUM_OK);
}

static void faulty_program(void) {
    bench.model.faulty_program = true;
    CHECK(plum_run(&bench.device, 0, 1, NULL) == PLUM_PROGRAM_FAULT);
}

static void counters(void) {
    uint32_t value = 0;
    bench.model.counter[PLUM_COUNTER_BEATS] = 77;
    bench.model.counter[PLUM_COUNTER_LAYERS + 3] = 88;
    CHECK(plum_counter(&bench.device, PLUM_COUNTER_BEATS, &value) == PLUM_OK && value == 77);
    CHECK(plum_layer_cycles(&bench.device, 3, &value) == PLUM_OK && value == 88);
    CHECK(plum_layer_cycles(&bench.device, 4, &value) == PLUM_BAD_ADDRESS);
    CHECK(plum_layer_cycles(&bench.device, UINT32_MAX - 2, &value) == PLUM_BAD_ADDRESS);
}

static void memory_test(void) {
    uint32_t address;
    for (uint32_t space = 0; space <= PLUM_SPACE_ACTIVATION; ++space) {
        CHECK(plum_memory_test(&bench.device, space, 1, &address) == PLUM_OK);
        bench.model.stuck_space = space;
        bench.model.stuck_address = 9 + space;
        bench.model.stuck_bits = 1u << (7 * space);
        CHECK(plum_memory_test(&bench.device, space, 1, &address) == PLUM_MEMORY_FAULT);
        CHECK(address == 9 + space);
    }
    CHECK(plum_memory_test(&bench.device, PLUM_SPACE_RESULT, 0, &address) == PLUM_BAD_ADDRESS);
    CHECK(plum_memory_test(&bench.device, PLUM_SPACE_CODE, 2, &address) == PLUM_BAD_ADDRESS);
}

/* ---- flash image ----------------------------------------------------------------------------- */

static void finds_everything(void) {
    struct plum_section section;
    CHECK(find() == PLUM_OK);
    CHECK(bench.slot.sequence == 5 && bench.slot.entries == 2);
    CHECK(strcmp(bench.network.name, "net") == 0 && bench.network.pixels == 15);
    CHECK(strcmp(plum_label(&bench.network, 0), "a") == 0);
    CHECK(strcmp(plum_label(&bench.network, 2), "") == 0);
    CHECK(strcmp(plum_label(&bench.network, 3), "cd") == 0);
    CHECK(strcmp(plum_label(&bench.network, 4), "") == 0);
    CHECK(bench.images.count == 2 && bench.images.labels[1] == 3 && !bench.images.expected);
    CHECK(plum_slot_verify(&bench.slot) == PLUM_OK);
    CHECK(plum_slot_section(&bench.slot, 2, &section) == PLUM_NOT_FOUND);
    CHECK(plum_network_find(&bench.network, &bench.slot, "other") == PLUM_NOT_FOUND);
    CHECK(plum_images_find(&bench.images, &bench.slot, "net") == PLUM_NOT_FOUND);
}

/* Every word of the slot, changed without its checksum: each is noticed somewhere. */
static void every_damage_is_noticed(void) {
    for (uint32_t i = 0; i < bench.built.count; ++i) {
        bench.built.words[i] ^= 0x10000u;
        const uint8_t *pixels;
        plum_error error = find();
        if (!error) error = plum_load(&bench.device, &bench.network);
        if (!error) error = plum_image(&bench.images, 0, &pixels);
        if (!error) error = plum_image(&bench.images, 1, &pixels);
        CHECK(error != PLUM_OK);
        uint32_t copy[4];
        error = find();
        if (!error) error = plum_load(&bench.device, &bench.network);
        if (!error) error = plum_image_copy(&bench.images, 0, copy);
        if (!error) error = plum_image_copy(&bench.images, 1, copy);
        CHECK(error != PLUM_OK);
        bench.built.words[i] ^= 0x10000u;
    }
    CHECK(find() == PLUM_OK);
}

static plum_error sealed(void) {
    seal(&bench.built);
    return find();
}

/* A word takes a value that cannot be, and its checksums are right. */
#define REFUSED(word, value) \
    do { \
        uint32_t *place = (word); \
        const uint32_t before = *place; \
        *place = (value); \
        CHECK(sealed() == PLUM_BAD_IMAGE); \
        *place = before; \
        CHECK(sealed() == PLUM_OK); \
    } while (0)

static void impossible_networks(void) {
    REFUSED(head(PLUM_NETWORK__CLUSTERS), 0);
    REFUSED(head(PLUM_NETWORK__CLUSTERS), 17);
    REFUSED(head(PLUM_NETWORK__CHANNELS), 0);
    REFUSED(head(PLUM_NETWORK__HEIGHT), 65537);
    REFUSED(head(PLUM_NETWORK__WIDTH), 4); /* runs go further */
    REFUSED(head(PLUM_NETWORK__BITS), 9);
    REFUSED(head(PLUM_NETWORK__BITS), 0);
    REFUSED(head(PLUM_NETWORK__OUTPUT), 2);
    REFUSED(head(PLUM_NETWORK__OUTPUT), PLUM_OUTPUT_MAP); /* its step gives logits */
    REFUSED(head(PLUM_NETWORK__OUT_CHANNELS), 5);
    REFUSED(head(PLUM_NETWORK__OUT_HEIGHT), 2);
    REFUSED(head(PLUM_NETWORK__STEPS), 4);
    REFUSED(head(PLUM_NETWORK__STEPS), 0xfffffffcu);
    REFUSED(head(PLUM_NETWORK__STEP_COUNT), 5);
    REFUSED(head(PLUM_NETWORK__STEP_COUNT), 3); /* nothing gives the output */
    REFUSED(head(PLUM_NETWORK__STEP_COUNT), 0x20000000u);
    REFUSED(head(PLUM_NETWORK__SETUP_COUNT), 2); /* INPUT is no set-up */
    REFUSED(head(PLUM_NETWORK__SETUP_COUNT), 5);
    REFUSED(head(PLUM_NETWORK__LABELS), 0);
    REFUSED(head(PLUM_NETWORK__LABEL_BYTES), 4); /* too few strings */
    REFUSED(head(PLUM_NETWORK__LABEL_BYTES), 7); /* the last one is not ended */
    REFUSED(head(PLUM_NETWORK__LABEL_COUNT), 3);
    REFUSED(head(PLUM_NETWORK__LABEL_BYTES), 0);
}

static void impossible_steps(void) {
    REFUSED(step(0, PLUM_STEP__KIND), 0);
    REFUSED(step(0, PLUM_STEP__KIND), 6);
    REFUSED(step(0, PLUM_STEP__TARGETS), 0);
    REFUSED(step(0, PLUM_STEP__TARGETS), 4);
    REFUSED(step(0, PLUM_STEP__SPACE), PLUM_SPACE_RESULT);
    REFUSED(step(0, PLUM_STEP__COUNT), 9);
    REFUSED(step(0, PLUM_STEP__COUNT), 0x40000001u);
    REFUSED(step(0, PLUM_STEP__DATA), *step(0, PLUM_STEP__DATA) - 4);
    REFUSED(step(0, PLUM_STEP__DATA), *step(0, PLUM_STEP__DATA) + 1);
    REFUSED(step(0, PLUM_STEP__DATA), 0xfffffffcu);
    REFUSED(step(1, PLUM_STEP__COUNT), 2);
    REFUSED(step(1, PLUM_STEP__COUNT), 0x10000000u);
    REFUSED(step(1, PLUM_STEP__BYTES), 8);
    REFUSED(step(1, PLUM_STEP__BYTES), 12);
    REFUSED(step(1, PLUM_STEP__DATA), 0);
    REFUSED(step(2, PLUM_STEP__COUNT), 0);
    REFUSED(step(3, PLUM_STEP__COUNT), 3);
    REFUSED(step(3, PLUM_STEP__KIND), PLUM_STEP_GATHER);
    REFUSED(step(2, PLUM_STEP__KIND), PLUM_STEP_RESULTS);
    REFUSED(run_word(0, PLUM_RUN__LENGTH), 9);
    REFUSED(run_word(0, PLUM_RUN__LENGTH), 0);
    REFUSED(run_word(0, PLUM_RUN__LENGTH), UINT32_MAX);
    REFUSED(run_word(0, PLUM_RUN__FIRST), 1);
    REFUSED(run_word(0, PLUM_RUN__FIRST), 15);
    REFUSED(run_word(0, PLUM_RUN__STRIDE), 0x7fffffffu);
    REFUSED(run_word(2, PLUM_RUN__STRIDE), UINT32_MAX - 2);
    REFUSED(run_word(2, PLUM_RUN__FIRST), 11);
}

static void impossible_images(void) {
    REFUSED(images_head(PLUM_IMAGES__COUNT), 1u << 30);
    REFUSED(images_head(PLUM_IMAGES__WIDTH), 6);
    REFUSED(images_head(PLUM_IMAGES__HEIGHT), 0);
    REFUSED(images_head(PLUM_IMAGES__LABELS), 8);
    REFUSED(images_head(PLUM_IMAGES__LABELS), *images_head(PLUM_IMAGES__DATA) - 8);
    REFUSED(images_head(PLUM_IMAGES__EXPECTED), 0xfffffffcu);
    /* These lead the sealing itself astray, so only their own checksum is made. */
    const uint32_t last = *images_head(PLUM_IMAGES__HEADER_BYTES) / 4 - 1;
    const uint32_t fields[] = {PLUM_IMAGES__DATA, PLUM_IMAGES__CRCS, PLUM_IMAGES__PITCH};
    for (uint32_t i = 0; i < 3; ++i) {
        const uint32_t values[] = {0, 4, 1, 0x80000000u, 0xfffffffcu};
        for (uint32_t j = 0; j < 5; ++j) {
            uint32_t *word = images_head(fields[i]);
            const uint32_t before = *word;
            *word = values[j];
            *images_head(last) = plum_crc_words(images_head(0), last);
            CHECK(find() == PLUM_BAD_IMAGE);
            *word = before;
        }
    }
}

static void impossible_slots(void) {
    uint32_t *words = bench.built.words;
    const uint32_t bytes = 4 * bench.built.count;
    /* Cut short, at every word. */
    for (uint32_t i = 0; i < bench.built.count; ++i) {
        struct plum_slot slot;
        CHECK(plum_slot_open(&slot, words, 4 * i) != PLUM_OK);
    }
    CHECK(plum_slot_open(&bench.slot, words, bytes) == PLUM_OK);
    const uint32_t head_last = words[PLUM_SLOT__HEADER_BYTES] / 4 - 1;
    const struct {
        uint32_t *word, value;
        plum_error error;
    } cases[] = {
        {&words[PLUM_SLOT__MAGIC], UINT32_MAX, PLUM_NO_SLOT},
        {&words[PLUM_SLOT__VERSION], PLUM_FORMAT_VERSION + 1, PLUM_WRONG_FORMAT},
        {&words[PLUM_SLOT__TOTAL_BYTES], bytes + 4, PLUM_BAD_IMAGE},
        {&words[PLUM_SLOT__TOTAL_BYTES], 8, PLUM_BAD_IMAGE},
        {&words[PLUM_SLOT__ENTRIES], 1, PLUM_BAD_IMAGE},
        {&words[PLUM_SLOT__ENTRIES], UINT32_MAX, PLUM_BAD_IMAGE},
        {entry(0, PLUM_ENTRY__OFFSET), 0, PLUM_BAD_IMAGE},
        {entry(0, PLUM_ENTRY__OFFSET), bytes + 4, PLUM_BAD_IMAGE},
        {entry(0, PLUM_ENTRY__BYTES), UINT32_MAX - 3, PLUM_BAD_IMAGE},
        {entry(1, PLUM_ENTRY__BYTES), *entry(1, PLUM_ENTRY__BYTES) + 4, PLUM_BAD_IMAGE},
        {entry(1, PLUM_ENTRY__BYTES), 5, PLUM_BAD_IMAGE},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        const uint32_t before = *cases[i].word;
        *cases[i].word = cases[i].value;
        words[head_last] = plum_crc_words(words, head_last);
        CHECK(plum_slot_open(&bench.slot, words, bytes) == cases[i].error);
        *cases[i].word = before;
    }
    for (uint32_t i = 0; i < PLUM_NAME_BYTES / 4; ++i) *entry(0, PLUM_ENTRY__NAME + i) = 0x61616161u;
    words[head_last] = plum_crc_words(words, head_last);
    CHECK(plum_slot_open(&bench.slot, words, bytes) == PLUM_BAD_IMAGE);
    words[PLUM_SLOT__HEADER_BYTES] = 16;
    CHECK(plum_slot_open(&bench.slot, words, bytes) == PLUM_BAD_IMAGE);
}

static void another_array(void) {
    CHECK(find() == PLUM_OK);
    bench.device.array[3] ^= 1;
    CHECK(plum_load(&bench.device, &bench.network) == PLUM_WRONG_ARRAY);
    bench.device.array[3] ^= 1;
    *head(PLUM_NETWORK__CLUSTERS) = 3;
    CHECK(sealed() == PLUM_OK);
    CHECK(plum_load(&bench.device, &bench.network) == PLUM_WRONG_ARRAY);
    CHECK(bench.device.network == NULL);
}

/* ---- images ---------------------------------------------------------------------------------- */

static void classifies(void) {
    int32_t logits[4] = {0};
    struct plum_output output = {.words = (uint32_t *)logits, .bytes = sizeof logits};
    const uint8_t *pixels;
    CHECK(find() == PLUM_OK);
    CHECK(plum_load(&bench.device, &bench.network) == PLUM_OK);
    for (uint32_t i = 0; i < 8; ++i) {
        CHECK(bench.model.code[0][2 + i] == 0x1000u * i + 7u);
        CHECK(bench.model.code[1][2 + i] == 0x1000u * i + 7u);
    }
    CHECK(plum_image(&bench.images, 1, &pixels) == PLUM_OK && pixels[0] == 41);
    CHECK(plum_image(&bench.images, 2, &pixels) == PLUM_NOT_FOUND);
    uint32_t copy[4];
    CHECK(bench.images.pitch == sizeof copy);
    CHECK(plum_image_copy(&bench.images, 1, copy) == PLUM_OK);
    CHECK(memcmp(copy, pixels, sizeof copy) == 0);
    CHECK(plum_image_copy(&bench.images, 2, copy) == PLUM_NOT_FOUND);
    CHECK(plum_classify(&bench.device, pixels, 15, &output) == PLUM_OK);
    const uint8_t sent[16] = {41, 43, 45, 47, 49, 51, 53, 55, 0, 54, 52, 50, 48, 46, 44, 42};
    for (uint32_t cluster = 0; cluster < 2; ++cluster) {
        CHECK(memcmp(bench.model.activation[cluster] + 4, sent, 16) == 0);
        CHECK(bench.model.activation[cluster][8] == 0);
    }
    CHECK(output.cycles == 50 && bench.model.layers == 1 && bench.model.program == 2);
    CHECK(memcmp(logits, bench.model.result, 16) == 0);
    CHECK(output.crc == plum_crc_words(bench.model.result, 4));
    /* Two sums of code 7 and more: the last one is the largest. */
    CHECK(output.best == 3);
    /* Negative logits, and the first of equal ones. */
    bench.model.code[0][0] = bench.model.code[0][1] = 0x80000000u;
    bench.model.code[0][2] = (uint32_t)-9;
    bench.model.code[0][3] = (uint32_t)-10;
    CHECK(plum_classify(&bench.device, pixels, 15, &output) == PLUM_OK && output.best == 2);
    CHECK(bench.model.outside == 0);
}

static void wrong_images(void) {
    int32_t logits[4];
    uint8_t pixels[16] = {0};
    struct plum_output output = {.words = (uint32_t *)logits, .bytes = sizeof logits};
    CHECK(plum_classify(&bench.device, pixels, 15, &output) == PLUM_NOT_LOADED);
    CHECK(find() == PLUM_OK && plum_load(&bench.device, &bench.network) == PLUM_OK);
    CHECK(plum_classify(&bench.device, pixels, 14, &output) == PLUM_WRONG_SHAPE);
    pixels[14] = 128;
    CHECK(plum_classify(&bench.device, pixels, 15, &output) == PLUM_BAD_PIXEL);
    pixels[14] = 127;
    output.bytes = 12;
    CHECK(plum_classify(&bench.device, pixels, 15, &output) == PLUM_SMALL_BUFFER);
    output.words = NULL;
    CHECK(plum_classify(&bench.device, pixels, 15, &output) == PLUM_OK);
    bench.model.run_ticks = UINT32_MAX;
    CHECK(plum_classify(&bench.device, pixels, 15, &output) == PLUM_TIMEOUT);
    bench.model.run_ticks = 50;
    CHECK(plum_classify(&bench.device, pixels, 15, &output) == PLUM_OK);
}

/* What a network wants and this array has not is found when it is done. */
static void too_large_for_the_device(void) {
    uint8_t pixels[16] = {0};
    struct plum_output output = {0};
    *step(0, PLUM_STEP__ADDRESS) = MODEL_CODE - 7;
    CHECK(sealed() == PLUM_OK);
    CHECK(plum_load(&bench.device, &bench.network) == PLUM_BAD_ADDRESS);
    *step(0, PLUM_STEP__ADDRESS) = 2;
    *step(1, PLUM_STEP__ADDRESS) = MODEL_ACTIVATION - 1;
    CHECK(sealed() == PLUM_OK && plum_load(&bench.device, &bench.network) == PLUM_OK);
    CHECK(plum_classify(&bench.device, pixels, 15, &output) == PLUM_BAD_ADDRESS);
    *step(1, PLUM_STEP__ADDRESS) = 2;
    *step(2, PLUM_STEP__ADDRESS) = 0xffffffffu;
    CHECK(sealed() == PLUM_OK && plum_load(&bench.device, &bench.network) == PLUM_OK);
    CHECK(plum_classify(&bench.device, pixels, 15, &output) == PLUM_BAD_ADDRESS);
    CHECK(bench.model.outside == 0);
}

/* A map of 11 bytes, from both clusters, with runs that go back and some zeros. */
static void gathers_maps(void) {
    uint32_t words[3];
    uint8_t pixels[16] = {0};
    struct plum_output output = {.words = words, .bytes = sizeof words};
    *head(PLUM_NETWORK__OUTPUT) = PLUM_OUTPUT_MAP;
    *head(PLUM_NETWORK__OUT_CHANNELS) = 11;
    *head(PLUM_NETWORK__LABEL_BYTES) = *head(PLUM_NETWORK__LABEL_COUNT) = 0;
    /* The step RUN is not needed: INPUT, then a GATHER for each cluster. */
    const uint32_t runs_at = *step(1, PLUM_STEP__DATA);
    const uint32_t gathers[2][PLUM_STEP__WORDS] = {
        {PLUM_STEP_GATHER, 2, 0, 3, 1, 6, runs_at + 4 * PLUM_RUN__WORDS, 0},
        {PLUM_STEP_GATHER, 1, 0, 3, 1, 5, runs_at + 8 * PLUM_RUN__WORDS, 0},
    };
    memcpy(step(2, 0), gathers, sizeof gathers);
    *step(1, PLUM_STEP__KIND) = PLUM_STEP_RUN;
    *step(1, PLUM_STEP__ADDRESS) = 0;
    *step(1, PLUM_STEP__COUNT) = 1;
    *step(1, PLUM_STEP__BYTES) = 0;
    *run_word(1, PLUM_RUN__LENGTH) = 6;
    *run_word(1, PLUM_RUN__FIRST) = 15;
    *run_word(1, PLUM_RUN__STRIDE) = UINT32_MAX - 2; /* 15, 12, 9, 6, 3, 0 */
    *run_word(2, PLUM_RUN__LENGTH) = 5;
    *run_word(2, PLUM_RUN__FIRST) = 4;
    *run_word(2, PLUM_RUN__STRIDE) = 1;
    /* With zeros behind it that would be too much. */
    *run_word(1, PLUM_RUN__FIRST) |= 1u << PLUM_PLACE_BITS;
    CHECK(sealed() == PLUM_BAD_IMAGE);
    *run_word(1, PLUM_RUN__LENGTH) = 5;
    CHECK(sealed() == PLUM_OK && plum_load(&bench.device, &bench.network) == PLUM_OK);
    for (uint32_t cluster = 0; cluster < 2; ++cluster) {
        uint8_t *bytes = (uint8_t *)(bench.model.activation[cluster] + 6);
        for (uint8_t i = 0; i < 16; ++i) bytes[i] = (uint8_t)(100 * cluster + i);
    }
    CHECK(plum_classify(&bench.device, pixels, 15, &output) == PLUM_OK);
    const uint8_t expected[12] = {115, 112, 109, 106, 103, 0, 4, 5, 6, 7, 8, 0};
    CHECK(memcmp(words, expected, 12) == 0);
    CHECK(output.crc == plum_crc_words(words, 3) && output.best == 0);
    output.bytes = 8;
    CHECK(plum_classify(&bench.device, pixels, 15, &output) == PLUM_SMALL_BUFFER);
    *step(2, PLUM_STEP__TARGETS) = 3; /* a read is for one cluster */
    CHECK(sealed() == PLUM_BAD_IMAGE);
    *step(2, PLUM_STEP__TARGETS) = 2;
    *step(2, PLUM_STEP__ADDRESS) = MODEL_ACTIVATION - 1;
    CHECK(sealed() == PLUM_OK && plum_load(&bench.device, &bench.network) == PLUM_OK);
    output.bytes = sizeof words;
    CHECK(plum_classify(&bench.device, pixels, 15, &output) == PLUM_BAD_ADDRESS);
    CHECK(bench.model.outside == 0);
}

static void damage_between(void) {
    CHECK(find() == PLUM_OK);
    bench.built.words[bench.built.network + *step(0, PLUM_STEP__DATA) / 4 + 3] ^= 1;
    CHECK(plum_load(&bench.device, &bench.network) == PLUM_BAD_CHECKSUM);
    CHECK(bench.device.network == NULL);
    CHECK(plum_slot_verify(&bench.slot) == PLUM_BAD_CHECKSUM);
}

static void errors_have_words(void) {
    for (unsigned i = 0; i < PLUM_ERROR_COUNT; ++i) {
        CHECK(plum_error_name((plum_error)i) && plum_error_text((plum_error)i));
        for (unsigned j = 0; j < i; ++j) {
            CHECK(strcmp(plum_error_name((plum_error)i), plum_error_name((plum_error)j)) != 0);
        }
    }
    CHECK(strcmp(plum_error_name(PLUM_ERROR_COUNT), "UNKNOWN") == 0);
}

static void checksum(void) {
    /* "123456789abc", by another implementation (zlib). */
    const uint32_t words[] = {0x34333231u, 0x38373635u, 0x63626139u};
    CHECK(plum_crc_words(words, 3) == 0xbdb0c0e4u);
    CHECK(plum_crc_words(words, 0) == 0);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*call)(void);
    } tests[] = {
        {"opens", opens},
        {"opening_stops_a_run", opening_stops_a_run},
        {"memories", memories},
        {"runs", runs},
        {"busy", busy},
        {"times_out", times_out},
        {"faulty_program", faulty_program},
        {"counters", counters},
        {"memory_test", memory_test},
        {"finds_everything", finds_everything},
        {"every_damage_is_noticed", every_damage_is_noticed},
        {"impossible_networks", impossible_networks},
        {"impossible_steps", impossible_steps},
        {"impossible_images", impossible_images},
        {"impossible_slots", impossible_slots},
        {"another_array", another_array},
        {"classifies", classifies},
        {"wrong_images", wrong_images},
        {"too_large_for_the_device", too_large_for_the_device},
        {"gathers_maps", gathers_maps},
        {"damage_between", damage_between},
        {"errors_have_words", errors_have_words},
        {"checksum", checksum},
    };
    planted = argc > 1 && strcmp(argv[1], "plant") == 0;
    for (size_t i = 0; i < sizeof tests / sizeof *tests; ++i) {
        const unsigned before = failures;
        running = tests[i].name;
        set_up();
        tests[i].call();
        printf("%s %s\n", tests[i].name, failures == before ? "passed" : "FAILED");
    }
    return failures != 0;
}
