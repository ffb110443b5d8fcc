/* Flash images: slots, and the images of a slot. Every length is checked before it is used. */
#include "image.h"

#include <string.h>

uint32_t plum_crc_words(const uint32_t *words, uint32_t count) {
    struct plum_crc crc;
    plum_crc_begin(&crc);
    for (; count; --count) plum_crc_word(&crc, *words++);
    return plum_crc_end(&crc);
}

bool plum_inside(uint32_t offset, uint32_t count, uint32_t size, uint32_t begin, uint32_t end) {
    if (offset % 4 || offset < begin || offset > end) return false;
    return (uint64_t)count * size <= end - offset;
}

uint32_t plum_volume(uint32_t channels, uint32_t height, uint32_t width) {
    const uint32_t side = 1u << 16;
    if (channels == 0 || height == 0 || width == 0) return 0;
    if (channels > side || height > side || width > side) return 0;
    const uint64_t plane = (uint64_t)height * width;
    if (plane > PLUM_MAX_VOLUME || plane * channels > PLUM_MAX_VOLUME) return 0;
    return (uint32_t)plane * channels;
}

/* Magic, version and checksum of a header that has at least `least` words before its CRC. */
plum_error plum_check_header(const uint32_t *words, uint32_t bytes, uint32_t magic, uint32_t least,
                             plum_error without) {
    /* All headers begin with these three words. */
    if (bytes < 4 * (least + 1)) return without;
    if (words[PLUM_SLOT__MAGIC] != magic) return without;
    if (words[PLUM_SLOT__VERSION] != PLUM_FORMAT_VERSION) return PLUM_WRONG_FORMAT;
    const uint32_t header = words[PLUM_SLOT__HEADER_BYTES];
    if (header % 4 || header < 4 * (least + 1) || header > bytes) return PLUM_BAD_IMAGE;
    if (header > PLUM_MAX_HEADER_BYTES) return PLUM_BAD_IMAGE;
    const uint32_t last = header / 4 - 1;
    return plum_crc_words(words, last) == words[last] ? PLUM_OK : PLUM_BAD_CHECKSUM;
}

plum_error plum_slot_open(struct plum_slot *slot, const uint32_t *words, uint32_t bytes) {
    *slot = (struct plum_slot){0};
    const plum_error error =
        plum_check_header(words, bytes, PLUM_SLOT_MAGIC, PLUM_SLOT__WORDS, PLUM_NO_SLOT);
    if (error) return error;
    const uint32_t header = words[PLUM_SLOT__HEADER_BYTES];
    const uint32_t total = words[PLUM_SLOT__TOTAL_BYTES];
    const uint32_t entries = words[PLUM_SLOT__ENTRIES];
    if (total % 4 || total < header || total > bytes) return PLUM_BAD_IMAGE;
    if (entries > PLUM_MAX_ENTRIES) return PLUM_BAD_IMAGE;
    if (header != 4 * (PLUM_SLOT__WORDS + entries * PLUM_ENTRY__WORDS + 1)) return PLUM_BAD_IMAGE;
    for (uint32_t i = 0; i < entries; ++i) {
        const uint32_t *entry = words + PLUM_SLOT__WORDS + i * PLUM_ENTRY__WORDS;
        const char *name = (const char *)(entry + PLUM_ENTRY__NAME);
        if (entry[PLUM_ENTRY__BYTES] % 4) return PLUM_BAD_IMAGE;
        if (!plum_inside(entry[PLUM_ENTRY__OFFSET], entry[PLUM_ENTRY__BYTES], 1, header, total)) {
            return PLUM_BAD_IMAGE;
        }
        if (memchr(name, 0, PLUM_NAME_BYTES) == NULL) return PLUM_BAD_IMAGE;
    }
    *slot = (struct plum_slot){words, total, words[PLUM_SLOT__SEQUENCE], entries};
    return PLUM_OK;
}

plum_error plum_slot_section(const struct plum_slot *slot, uint32_t index,
                             struct plum_section *section) {
    if (index >= slot->entries) return PLUM_NOT_FOUND;
    const uint32_t *entry = slot->words + PLUM_SLOT__WORDS + index * PLUM_ENTRY__WORDS;
    *section = (struct plum_section){
        .kind = entry[PLUM_ENTRY__KIND],
        .name = (const char *)(entry + PLUM_ENTRY__NAME),
        .words = slot->words + entry[PLUM_ENTRY__OFFSET] / 4,
        .bytes = entry[PLUM_ENTRY__BYTES],
        .crc = entry[PLUM_ENTRY__CRC],
    };
    return PLUM_OK;
}

plum_error plum_slot_find(const struct plum_slot *slot, uint32_t kind, const char *name,
                          struct plum_section *section) {
    for (uint32_t i = 0; plum_slot_section(slot, i, section) == PLUM_OK; ++i) {
        if (section->kind == kind && (name == NULL || strcmp(section->name, name) == 0)) {
            return PLUM_OK;
        }
    }
    return PLUM_NOT_FOUND;
}

plum_error plum_slot_verify(const struct plum_slot *slot) {
    struct plum_section section;
    for (uint32_t i = 0; plum_slot_section(slot, i, &section) == PLUM_OK; ++i) {
        if (plum_crc_words(section.words, section.bytes / 4) != section.crc) {
            return PLUM_BAD_CHECKSUM;
        }
    }
    return PLUM_OK;
}

plum_error plum_images_find(struct plum_images *images, const struct plum_slot *slot,
                            const char *name) {
    struct plum_section section;
    *images = (struct plum_images){0};
    plum_error error = plum_slot_find(slot, PLUM_KIND_IMAGES, name, &section);
    if (error) return error;
    const uint32_t *words = section.words;
    error = plum_check_header(words, section.bytes, PLUM_IMAGES_MAGIC, PLUM_IMAGES__WORDS,
                              PLUM_BAD_IMAGE);
    if (error) return error;
    const uint32_t begin = 4 * PLUM_IMAGES__WORDS;
    const uint32_t end = words[PLUM_IMAGES__HEADER_BYTES] - 4;
    struct plum_images found = {
        .name = section.name,
        .words = words,
        .bytes = section.bytes,
        .count = words[PLUM_IMAGES__COUNT],
        .channels = words[PLUM_IMAGES__CHANNELS],
        .height = words[PLUM_IMAGES__HEIGHT],
        .width = words[PLUM_IMAGES__WIDTH],
        .pitch = words[PLUM_IMAGES__PITCH],
    };
    found.pixels = plum_volume(found.channels, found.height, found.width);
    if (found.pixels == 0 || found.pitch % 4 || found.pitch < found.pixels) return PLUM_BAD_IMAGE;
    if (!plum_inside(words[PLUM_IMAGES__DATA], found.count, found.pitch, end + 4, section.bytes)) {
        return PLUM_BAD_IMAGE;
    }
    const uint32_t crcs = words[PLUM_IMAGES__CRCS];
    const uint32_t labels = words[PLUM_IMAGES__LABELS];
    const uint32_t expected = words[PLUM_IMAGES__EXPECTED];
    if (!plum_inside(crcs, found.count, 4, begin, end)) return PLUM_BAD_IMAGE;
    if (labels && !plum_inside(labels, found.count, 4, begin, end)) return PLUM_BAD_IMAGE;
    if (expected && !plum_inside(expected, found.count, 4, begin, end)) return PLUM_BAD_IMAGE;
    found.crcs = words + crcs / 4;
    found.labels = labels ? words + labels / 4 : NULL;
    found.expected = expected ? words + expected / 4 : NULL;
    *images = found;
    return PLUM_OK;
}

static const uint32_t *image_words(const struct plum_images *images, uint32_t index) {
    return images->words + (images->words[PLUM_IMAGES__DATA] + index * images->pitch) / 4;
}

plum_error plum_image(const struct plum_images *images, uint32_t index, const uint8_t **pixels) {
    if (index >= images->count) return PLUM_NOT_FOUND;
    const uint32_t *words = image_words(images, index);
    if (plum_crc_words(words, images->pitch / 4) != images->crcs[index]) return PLUM_BAD_CHECKSUM;
    *pixels = (const uint8_t *)words;
    return PLUM_OK;
}

plum_error plum_image_copy(const struct plum_images *images, uint32_t index, uint32_t *copy) {
    if (index >= images->count) return PLUM_NOT_FOUND;
    const uint32_t *words = image_words(images, index);
    struct plum_crc crc;
    plum_crc_begin(&crc);
    for (uint32_t i = 0; i < images->pitch / 4; ++i) {
        copy[i] = words[i];
        plum_crc_word(&crc, copy[i]);
    }
    return plum_crc_end(&crc) == images->crcs[index] ? PLUM_OK : PLUM_BAD_CHECKSUM;
}
