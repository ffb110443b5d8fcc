/* CRC-32 of IEEE 802.3, four bits at a time: the sums of a nibble fit sixteen words. */
#include "plum.h"

void plum_crc_begin(struct plum_crc *crc) { crc->state = 0xffffffffu; }

void plum_crc_word(struct plum_crc *crc, uint32_t word) {
    /* The remainder of each nibble for the reflected polynomial 0xEDB88320. */
    static const uint32_t nibbles[16] = {
        0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
        0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
        0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu,
    };
    uint32_t state = crc->state ^ word;
    for (int i = 0; i < 8; ++i) state = state >> 4 ^ nibbles[state & 15u];
    crc->state = state;
}

uint32_t plum_crc_end(struct plum_crc *crc) { return ~crc->state; }
