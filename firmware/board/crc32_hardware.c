/* CRC-32 by the controller's CHECKSUM block, in place of src/crc32.c: one at a time. */
#include "soc.h"

void plum_crc_begin(struct plum_crc *crc) {
    crc->state = 0;
    SOC_REGISTER(CHECKSUM, RESTART) = 1;
}

void plum_crc_word(struct plum_crc *crc, uint32_t word) {
    (void)crc;
    SOC_REGISTER(CHECKSUM, DATA) = word;
}

uint32_t plum_crc_end(struct plum_crc *crc) {
    (void)crc;
    return SOC_REGISTER(CHECKSUM, VALUE);
}
