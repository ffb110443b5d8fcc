/* Images on their way to the array, by any map: against one byte after the other.
 *
 *     send [SEED [plant]]
 *
 * With "plant" the oracle has a wrong byte, which must be noticed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "model.h"

enum { MAPS = 20000, RUNS = 12, PIXELS = 61, BYTES = 8 * MODEL_ACTIVATION };

static uint64_t state;

static uint32_t draw(uint32_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

/* A run that stays inside the pixels and has at most `most` bytes; what it sends goes to `sent`. */
static uint32_t draw_run(uint32_t *run, uint32_t most, const uint8_t *pixels, uint8_t *sent) {
    uint32_t length = 1 + draw(most < 20 ? most : 20);
    const uint32_t kind = draw(4);
    if (kind == 0) {
        memcpy(run, (uint32_t[]){length, PLUM_ZEROS, 0}, 4 * PLUM_RUN__WORDS);
        memset(sent, 0, length);
        return length;
    }
    const int32_t stride = kind == 1 ? (int32_t)draw(7) - 3 : 1;
    int32_t place = (int32_t)draw(PIXELS);
    const int32_t first = place;
    uint32_t made = 0, zeros = 0;
    for (; made < length && place >= 0 && place < PIXELS; place += stride) {
        sent[made++] = pixels[place];
    }
    if (most > made && draw(2)) zeros = 1 + draw(most - made < 11 ? most - made : 11);
    memset(sent + made, 0, zeros);
    memcpy(run, (uint32_t[]){made, (uint32_t)first | zeros << PLUM_PLACE_BITS, (uint32_t)stride},
           4 * PLUM_RUN__WORDS);
    return made + zeros;
}

int main(int count, char **words) {
    static struct model model;
    const struct plum_platform platform = {
        .ticks = model_ticks, .context = &model, .run_ticks = 1000};
    struct plum_device device;
    state = count > 1 ? strtoull(words[1], NULL, 10) : 1;
    const bool plant = count > 2 && strcmp(words[2], "plant") == 0;
    model_reset(&model);
    if (plum_open(&device, model_base(&model), &platform)) return 2;
    for (uint32_t map = 0; map < MAPS; ++map) {
        /* The image begins at any place of a word and ends with its buffer. */
        const uint32_t skew = draw(4);
        uint8_t *buffer = malloc(skew + PIXELS);
        uint8_t sent[BYTES];
        uint32_t runs[RUNS * PLUM_RUN__WORDS], bytes = 0, number = 0;
        if (buffer == NULL) return 2;
        uint8_t *pixels = buffer + skew;
        for (uint32_t i = 0; i < PIXELS; ++i) pixels[i] = (uint8_t)(1 + draw(255));
        for (; number < RUNS - 1 && bytes < 48; ++number) {
            bytes += draw_run(runs + number * PLUM_RUN__WORDS, 64 - bytes, pixels, sent + bytes);
        }
        const uint32_t rest = (8 - bytes % 8) % 8;
        if (rest) {
            memcpy(runs + number++ * PLUM_RUN__WORDS, (uint32_t[]){rest, PLUM_ZEROS, 0},
                   4 * PLUM_RUN__WORDS);
            memset(sent + bytes, 0, rest);
            bytes += rest;
        }
        if (plant && map == 77) ++sent[3];
        uint32_t step[PLUM_STEP__WORDS] = {0};
        const uint32_t address = draw(MODEL_ACTIVATION - bytes / 8 + 1);
        step[PLUM_STEP__TARGETS] = 3;
        step[PLUM_STEP__ADDRESS] = address;
        step[PLUM_STEP__COUNT] = number;
        step[PLUM_STEP__BYTES] = bytes;
        const struct plum_network network = {.words = runs};
        memset(model.activation, 0xee, sizeof model.activation);
        const plum_error error = plum_send_image(&device, &network, step, pixels);
        free(buffer);
        if (error) return 2;
        for (uint32_t cluster = 0; cluster < 2; ++cluster) {
            const uint8_t *got = (const uint8_t *)model.activation[cluster];
            for (uint32_t i = 0; i < BYTES; ++i) {
                const bool within = i >= 8 * address && i < 8 * address + bytes;
                if (got[i] == (within ? sent[i - 8 * address] : 0xee)) continue;
                printf("map %u: byte %u is %u\n", map, i, got[i]);
                return 1;
            }
        }
    }
    printf("%u maps passed\n", (unsigned)MAPS);
    return model.outside == 0 ? 0 : 1;
}
