/* Fuzzing of the flash image's reader: whatever stands in the flash, nothing is read or written outside
 * of what it should be. Input: a slot. Its checksums are made right where they are in its bounds, for
 * no fuzzer finds those by trying.
 *
 * With libFuzzer (clang -fsanitize=fuzzer), or with REPLAY defined a program that takes the inputs as
 * files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The sum of a header at `words`, whose third word is its length. */
static void seal_header(uint32_t *words, size_t count) {
    if (count <= PLUM_SLOT__HEADER_BYTES) return;
    const uint32_t last = words[PLUM_SLOT__HEADER_BYTES] / 4;
    if (last == 0 || last > count) return;
    words[last - 1] = plum_crc_words(words, last - 1);
}

static void seal_steps(uint32_t *words, size_t count) {
    if (count < PLUM_NETWORK__WORDS) return;
    const size_t first = words[PLUM_NETWORK__STEPS] / 4;
    for (size_t i = 0; i < words[PLUM_NETWORK__STEP_COUNT]; ++i) {
        const size_t place = first + i * PLUM_STEP__WORDS;
        if (place + PLUM_STEP__WORDS > count) return;
        const size_t data_at = words[place + PLUM_STEP__DATA] / 4;
        const size_t length = words[place + PLUM_STEP__COUNT];
        if (words[place] != PLUM_STEP_LOAD || data_at + length > count) continue;
        words[place + PLUM_STEP__CRC] = plum_crc_words(words + data_at, (uint32_t)length);
    }
}

static void seal_images(uint32_t *words, size_t count) {
    if (count < PLUM_IMAGES__WORDS) return;
    const size_t pitch = words[PLUM_IMAGES__PITCH] / 4;
    for (size_t i = 0; i < words[PLUM_IMAGES__COUNT]; ++i) {
        const size_t sum = words[PLUM_IMAGES__CRCS] / 4 + i;
        const size_t data = words[PLUM_IMAGES__DATA] / 4 + i * pitch;
        if (sum >= count || data + pitch > count) return;
        words[sum] = plum_crc_words(words + data, (uint32_t)pitch);
    }
}

static void seal_slot(uint32_t *words, size_t count) {
    if (count < PLUM_SLOT__WORDS) return;
    for (size_t i = 0; i < words[PLUM_SLOT__ENTRIES] && i < PLUM_MAX_ENTRIES; ++i) {
        const size_t place = PLUM_SLOT__WORDS + i * PLUM_ENTRY__WORDS;
        if (place + PLUM_ENTRY__WORDS > count) break;
        const size_t first = words[place + PLUM_ENTRY__OFFSET] / 4;
        const size_t length = words[place + PLUM_ENTRY__BYTES] / 4;
        if (first + length > count) continue;
        const uint32_t kind = words[place];
        if (kind == PLUM_KIND_NETWORK) seal_steps(words + first, length);
        if (kind == PLUM_KIND_IMAGES) seal_images(words + first, length);
        seal_header(words + first, length);
        words[place + PLUM_ENTRY__CRC] = plum_crc_words(words + first, (uint32_t)length);
    }
    seal_header(words, count);
}

static void classify(struct plum_device *device, const struct plum_network *network,
                     const struct plum_images *images) {
    struct plum_output output = {.bytes = (network->output_bytes + 3) / 4 * 4};
    uint8_t *own = calloc(1, network->pixels);
    const uint8_t *pixels = own;
    if (images->count) plum_image(images, images->count - 1, &pixels);
    output.words = malloc(output.bytes);
    const uint32_t bytes = pixels == own ? network->pixels : images->pixels;
    if (own && output.words) plum_classify(device, pixels, bytes, &output);
    for (uint32_t i = 0; i < 4; ++i) (void)strlen(plum_label(network, i));
    free(output.words);
    free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct model model;
    struct plum_platform platform = {
        .ticks = model_ticks, .sleep = model_sleep, .context = &model, .run_ticks = 100};
    struct plum_device device;
    struct plum_slot slot;
    struct plum_network network;
    struct plum_images images;
    struct plum_section section;
    /* As long as the input, so that the sanitizer sees one byte more. */
    const size_t count = size / 4;
    uint32_t *words = malloc(count * 4 + (count == 0));
    if (words == NULL) return 0;
    memcpy(words, data, count * 4);
    seal_slot(words, count);
    model_reset(&model);
    if (plum_slot_open(&slot, words, (uint32_t)(4 * count)) == PLUM_OK) {
        (void)plum_slot_verify(&slot);
        if (plum_images_find(&images, &slot, NULL) != PLUM_OK) images.count = 0;
        for (uint32_t i = 0; plum_slot_section(&slot, i, &section) == PLUM_OK; ++i) {
            if (section.kind != PLUM_KIND_NETWORK) continue;
            if (plum_network_find(&network, &slot, section.name) != PLUM_OK) continue;
            /* The array that it is for. */
            model.clusters = network.words[PLUM_NETWORK__CLUSTERS];
            memcpy(model.array, network.words + PLUM_NETWORK__ARRAY, sizeof model.array);
            if (plum_open(&device, model_base(&model), &platform) != PLUM_OK) abort();
            if (plum_load(&device, &network) == PLUM_OK) classify(&device, &network, &images);
            /* The driver never asks for what is not there. */
            if (model.outside) abort();
        }
    }
    free(words);
    return 0;
}

#ifdef REPLAY
int main(int argc, char **argv) {
    static uint8_t data[1 << 20];
    for (int i = 1; i < argc; ++i) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            perror(argv[i]);
            return 2;
        }
        const size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%d inputs\n", argc - 1);
    return 0;
}
#endif
