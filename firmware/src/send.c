/* An image on its way to the array: bytes, put together to words.
 *
 * This is what a small processor does most for an image, so it is written for speed, and compiled for
 * it: whole words wherever there are some, and no call for what is less.
 */
#include <string.h>

#include "image.h"

static uint32_t word_at(const uint8_t *bytes) {
    uint32_t word;
    memcpy(&word, __builtin_assume_aligned(bytes, 4), 4);
    return word;
}

plum_error plum_send_image(struct plum_device *device, const struct plum_network *network,
                           const uint32_t *step, const uint8_t *pixels) {
    volatile uint32_t *const base = device->base;
    uint32_t begin;
    const plum_error error =
        plum_begin_write(device, PLUM_SPACE_ACTIVATION, step[PLUM_STEP__TARGETS],
                         step[PLUM_STEP__ADDRESS], step[PLUM_STEP__BYTES] / 4, &begin);
    if (error) return error;
    uint32_t offset = begin;
    const uint32_t *run = network->words + step[PLUM_STEP__DATA] / 4;
    const uint32_t *const end = run + step[PLUM_STEP__COUNT] * PLUM_RUN__WORDS;
    /* What waits for more, and how many bits it is, 0 to 24; the rest of the word is 0. */
    uint32_t word = 0, bits = 0;
    for (; run != end; run += PLUM_RUN__WORDS) {
        uint32_t left = run[PLUM_RUN__LENGTH];
        const uint32_t first = run[PLUM_RUN__FIRST];
        if (first == PLUM_ZEROS) {
            for (left += bits / 8; left >= 4; left -= 4, offset += 4) {
                plum_io_write(base, offset, word);
                word = 0;
            }
            bits = 8 * left;
            continue;
        }
        const uint32_t stride = run[PLUM_RUN__STRIDE];
        const uint8_t *bytes = pixels + first;
        for (;;) {
            if (stride == 1 && left >= 4 && (uintptr_t)bytes % 4 == 0) {
                const uint8_t *const last = bytes + left / 4 * 4;
                left %= 4;
                if (bits == 0) {
                    for (; bytes != last; bytes += 4, offset += 4) {
                        plum_io_write(base, offset, word_at(bytes));
                    }
                } else {
                    const uint32_t rest = 32 - bits;
                    for (; bytes != last; bytes += 4, offset += 4) {
                        const uint32_t next = word_at(bytes);
                        plum_io_write(base, offset, word | next << bits);
                        word = next >> rest;
                    }
                }
            }
            if (left == 0) break;
            word |= (uint32_t)*bytes << bits;
            --left;
            bits += 8;
            if (bits == 32) {
                plum_io_write(base, offset, word);
                offset += 4;
                word = bits = 0;
            }
            /* Only as long as there is more: a place outside is not even computed. */
            if (left) bytes += (int32_t)stride;
        }
    }
    return PLUM_OK;
}
