/* What the driver's files share. */
#ifndef PLUM_IMAGE_H
#define PLUM_IMAGE_H

#include "plum.h"

/* Bytes of the largest image or map. */
#define PLUM_MAX_VOLUME (1u << 24)

/* Whether `count` items of `size` bytes from `offset` on lie between `begin` and `end`, aligned. */
bool plum_inside(uint32_t offset, uint32_t count, uint32_t size, uint32_t begin, uint32_t end);

/* Elements of a shape; 0 where a side is 0 or they are more than PLUM_MAX_VOLUME. */
uint32_t plum_volume(uint32_t channels, uint32_t height, uint32_t width);

/* Check a header that has at least `least` words before its CRC; `without` is the error where it has
 * another magic number. */
plum_error plum_check_header(const uint32_t *words, uint32_t bytes, uint32_t magic, uint32_t least,
                             plum_error without);

/* Check what plum_write would, and make the device ready for it: the `count` 32-bit words then go to
 * *offset and the places behind it. */
plum_error plum_begin_write(struct plum_device *device, uint32_t space, uint32_t targets,
                            uint32_t address, uint32_t count, uint32_t *offset);

/* Of a run that is not all zeros: the place of its first byte, and how many zeros follow it. */
static inline uint32_t plum_place(const uint32_t *run) {
    return run[PLUM_RUN__FIRST] & ((1u << PLUM_PLACE_BITS) - 1);
}
static inline uint32_t plum_zeros(const uint32_t *run) {
    return run[PLUM_RUN__FIRST] >> PLUM_PLACE_BITS;
}

/* Send what a step INPUT, checked before, says of an image. */
plum_error plum_send_image(struct plum_device *device, const struct plum_network *network,
                           const uint32_t *step, const uint8_t *pixels);

#endif
