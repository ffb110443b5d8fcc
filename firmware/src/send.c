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

/* Whole words, behind `bits` of *kept that wait for them; the offset of what comes next. Two at a time:
 * a loop's end takes as long as a word. */
static inline uint32_t send_words(volatile uint32_t *base, uint32_t offset, const uint8_t *bytes,
                                  uint32_t count, uint32_t *kept, uint32_t bits) {
    const uint32_t rest = 32 - bits;
    uint32_t word = *kept;
    if (bits == 0) {
        for (; count; --count, bytes += 4, offset += 4) plum_io_write(base, offset, word_at(bytes));
        return offset;
    }
    if (count % 2) {
        const uint32_t next = word_at(bytes);
        plum_io_write(base, offset, word | next << bits);
        word = next >> rest;
        bytes += 4;
        offset += 4;
    }
    for (count /= 2; count; --count, bytes += 8, offset += 8) {
        const uint32_t next = word_at(bytes), second = word_at(bytes + 4);
        plum_io_write(base, offset, word | next << bits);
        plum_io_write(base, offset + 4, next >> rest | second << bits);
        word = second >> rest;
    }
    *kept = word;
    return offset;
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
    /* Read in their order, whatever a compiler would like: a flash gives the next word soonest. */
    const volatile uint32_t *run = network->words + step[PLUM_STEP__DATA] / 4;
    const volatile uint32_t *const end = run + step[PLUM_STEP__COUNT] * PLUM_RUN__WORDS;
    /* What waits for more, and how many bits it is, 0 to 24; the rest of the word is 0. */
    uint32_t word = 0, bits = 0;
    for (; run != end; run += PLUM_RUN__WORDS) {
        uint32_t left = run[PLUM_RUN__LENGTH];
        const uint32_t first = run[PLUM_RUN__FIRST];
        const uint32_t stride = run[PLUM_RUN__STRIDE];
        uint32_t zeros = first >> PLUM_PLACE_BITS;
        if (first == PLUM_ZEROS) {
            zeros = left;
            left = 0;
        }
        const uint8_t *bytes = pixels + (first & ((1u << PLUM_PLACE_BITS) - 1));
        while (left) {
            if (stride == 1 && left >= 4 && (uintptr_t)bytes % 4 == 0) {
                const uint32_t count = left / 4;
                left %= 4;
                offset = send_words(base, offset, bytes, count, &word, bits);
                bytes += 4 * count;
                continue;
            }
            word |= (uint32_t)*bytes << bits;
            bits += 8;
            if (bits == 32) {
                plum_io_write(base, offset, word);
                offset += 4;
                word = bits = 0;
            }
            /* Only as long as there is more: a place outside is not even computed. */
            if (--left) bytes += (int32_t)stride;
        }
        for (zeros += bits / 8; zeros >= 4; zeros -= 4, offset += 4) {
            plum_io_write(base, offset, word);
            word = 0;
        }
        bits = 8 * zeros;
    }
    return PLUM_OK;
}
