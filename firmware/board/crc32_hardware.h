/* CRC-32 by the controller's CHECKSUM block, in place of src/crc32.c. */
#ifndef CRC32_HARDWARE_H
#define CRC32_HARDWARE_H

#define CRC32_REGISTER(name) \
    (*(volatile uint32_t *)(PLUM_CHECKSUM_BASE + PLUM_CHECKSUM_##name))

static inline void plum_crc_begin(struct plum_crc *crc) {
    crc->state = 0;
    CRC32_REGISTER(RESTART) = 1;
}

static inline void plum_crc_word(struct plum_crc *crc, uint32_t word) {
    (void)crc;
    CRC32_REGISTER(DATA) = word;
}

static inline uint32_t plum_crc_end(struct plum_crc *crc) {
    (void)crc;
    return CRC32_REGISTER(VALUE);
}

#endif
