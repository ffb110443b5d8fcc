/* Networks of a flash image: checked whole, then done step by step. */
#include <string.h>

#include "image.h"

/* ---- checks ---------------------------------------------------------------------------------- */

/* Runs must lie in the header, have `total` bytes together, and have all places below `places`. */
static bool good_runs(const uint32_t *words, const uint32_t *step, uint32_t end, uint64_t places) {
    const uint32_t count = step[PLUM_STEP__COUNT];
    const uint32_t total = step[PLUM_STEP__BYTES];
    if (!plum_inside(step[PLUM_STEP__DATA], count, 4 * PLUM_RUN__WORDS, 4 * PLUM_NETWORK__WORDS,
                     end)) {
        return false;
    }
    const uint32_t *run = words + step[PLUM_STEP__DATA] / 4;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count; ++i, run += PLUM_RUN__WORDS) {
        const uint32_t length = run[PLUM_RUN__LENGTH];
        if (length == 0 || length > total - sum) return false;
        sum += length;
        if (run[PLUM_RUN__FIRST] == PLUM_ZEROS) continue;
        const uint32_t zeros = plum_zeros(run);
        if (zeros > total - sum) return false;
        sum += zeros;
        const int64_t first = plum_place(run);
        const int64_t last = first + (int64_t)(int32_t)run[PLUM_RUN__STRIDE] * (length - 1);
        if ((uint64_t)first >= places || last < 0 || (uint64_t)last >= places) return false;
    }
    return sum == total;
}

static bool good_step(const struct plum_network *network, const uint32_t *step, uint32_t end,
                      uint32_t clusters) {
    const uint32_t targets = step[PLUM_STEP__TARGETS];
    const uint32_t bytes = step[PLUM_STEP__BYTES];
    if (targets == 0 || targets >> clusters) return false;
    switch (step[PLUM_STEP__KIND]) {
    case PLUM_STEP_LOAD:
        return step[PLUM_STEP__SPACE] <= PLUM_SPACE_ACTIVATION &&
               plum_inside(step[PLUM_STEP__DATA], step[PLUM_STEP__COUNT], 4, end + 4,
                           network->bytes);
    case PLUM_STEP_INPUT:
        return bytes % 8 == 0 && bytes <= PLUM_MAX_VOLUME &&
               good_runs(network->words, step, end, network->pixels);
    case PLUM_STEP_RUN: return step[PLUM_STEP__COUNT] > 0;
    case PLUM_STEP_RESULTS:
        return network->output_kind == PLUM_OUTPUT_LOGITS &&
               step[PLUM_STEP__COUNT] == network->outputs;
    case PLUM_STEP_GATHER:
        return network->output_kind == PLUM_OUTPUT_MAP && (targets & (targets - 1)) == 0 &&
               bytes <= network->output_bytes &&
               good_runs(network->words, step, end, PLUM_MAX_VOLUME);
    default: return false;
    }
}

/* Steps: first those that are done once, which load; then some that end with those of the output. */
static bool good_steps(const struct plum_network *network, uint32_t end, uint32_t clusters) {
    uint32_t output = 0; /* bytes */
    for (uint32_t i = 0; i < network->step_count; ++i) {
        const uint32_t *step = network->steps + i * PLUM_STEP__WORDS;
        const uint32_t kind = step[PLUM_STEP__KIND];
        if (!good_step(network, step, end, clusters)) return false;
        if (i < network->setup_count && kind != PLUM_STEP_LOAD) return false;
        if (kind == PLUM_STEP_RESULTS || kind == PLUM_STEP_GATHER) {
            const uint32_t more = kind == PLUM_STEP_RESULTS ? 4 * step[PLUM_STEP__COUNT]
                                                            : step[PLUM_STEP__BYTES];
            if (more > network->output_bytes - output) return false;
            output += more;
        } else if (output) {
            return false;
        }
    }
    return output == network->output_bytes;
}

static bool good_labels(struct plum_network *network, uint32_t offset, uint32_t end) {
    if (network->label_bytes == 0) return network->label_count == 0;
    if (!plum_inside(offset, network->label_bytes, 1, 4 * PLUM_NETWORK__WORDS, end)) return false;
    if (network->label_count != network->outputs) return false;
    network->labels = (const char *)(network->words + offset / 4);
    uint32_t ends = 0;
    for (uint32_t i = 0; i < network->label_bytes; ++i) ends += network->labels[i] == 0;
    return ends >= network->label_count && network->labels[network->label_bytes - 1] == 0;
}

plum_error plum_network_find(struct plum_network *network, const struct plum_slot *slot,
                             const char *name) {
    struct plum_section section;
    memset(network, 0, sizeof *network);
    plum_error error = plum_slot_find(slot, PLUM_KIND_NETWORK, name, &section);
    if (error) return error;
    const uint32_t *words = section.words;
    error = plum_check_header(words, section.bytes, PLUM_NETWORK_MAGIC, PLUM_NETWORK__WORDS,
                              PLUM_BAD_IMAGE);
    if (error) return error;
    const uint32_t end = words[PLUM_NETWORK__HEADER_BYTES] - 4;
    const uint32_t clusters = words[PLUM_NETWORK__CLUSTERS];
    struct plum_network found = {
        .name = section.name,
        .words = words,
        .bytes = section.bytes,
        .channels = words[PLUM_NETWORK__CHANNELS],
        .height = words[PLUM_NETWORK__HEIGHT],
        .width = words[PLUM_NETWORK__WIDTH],
        .bits = words[PLUM_NETWORK__BITS],
        .output_kind = words[PLUM_NETWORK__OUTPUT],
        .outputs = words[PLUM_NETWORK__OUT_CHANNELS],
        .predicted_cycles = (uint64_t)words[PLUM_NETWORK__CYCLES + 1] << 32 |
                            words[PLUM_NETWORK__CYCLES],
        .step_count = words[PLUM_NETWORK__STEP_COUNT],
        .setup_count = words[PLUM_NETWORK__SETUP_COUNT],
        .label_bytes = words[PLUM_NETWORK__LABEL_BYTES],
        .label_count = words[PLUM_NETWORK__LABEL_COUNT],
    };
    if (clusters == 0 || clusters > PLUM_MAX_CLUSTERS) return PLUM_BAD_IMAGE;
    found.pixels = plum_volume(found.channels, found.height, found.width);
    const uint32_t outputs = plum_volume(found.outputs, words[PLUM_NETWORK__OUT_HEIGHT],
                                         words[PLUM_NETWORK__OUT_WIDTH]);
    if (found.pixels == 0 || outputs == 0) return PLUM_BAD_IMAGE;
    if (found.bits == 0 || found.bits > 8) return PLUM_BAD_IMAGE;
    if (found.output_kind > PLUM_OUTPUT_MAP) return PLUM_BAD_IMAGE;
    if (found.output_kind == PLUM_OUTPUT_LOGITS && outputs != found.outputs) return PLUM_BAD_IMAGE;
    found.output_bytes = found.output_kind == PLUM_OUTPUT_LOGITS ? 4 * outputs : outputs;
    const uint32_t steps = words[PLUM_NETWORK__STEPS];
    if (!plum_inside(steps, found.step_count, 4 * PLUM_STEP__WORDS, 4 * PLUM_NETWORK__WORDS, end)) {
        return PLUM_BAD_IMAGE;
    }
    if (found.setup_count > found.step_count) return PLUM_BAD_IMAGE;
    found.steps = words + steps / 4;
    if (!good_labels(&found, words[PLUM_NETWORK__LABELS], end)) return PLUM_BAD_IMAGE;
    if (!good_steps(&found, end, clusters)) return PLUM_BAD_IMAGE;
    *network = found;
    return PLUM_OK;
}

const char *plum_label(const struct plum_network *network, uint32_t index) {
    if (index >= network->label_count) return "";
    const char *label = network->labels;
    for (; index; --index) label += strlen(label) + 1;
    return label;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static plum_error do_load(struct plum_device *device, const struct plum_network *network,
                          const uint32_t *step) {
    volatile uint32_t *base = device->base;
    const uint32_t *words = network->words + step[PLUM_STEP__DATA] / 4;
    const uint32_t count = step[PLUM_STEP__COUNT];
    uint32_t begin;
    const plum_error error =
        plum_begin_write(device, step[PLUM_STEP__SPACE], step[PLUM_STEP__TARGETS],
                         step[PLUM_STEP__ADDRESS], count, &begin);
    if (error) return error;
    struct plum_crc crc;
    plum_crc_begin(&crc);
    uint32_t offset = begin;
    for (const uint32_t *end = words + count; words != end; ++words, offset += 4) {
        const uint32_t word = *words;
        plum_crc_word(&crc, word);
        plum_io_write(base, offset, word);
    }
    return plum_crc_end(&crc) == step[PLUM_STEP__CRC] ? PLUM_OK : PLUM_BAD_CHECKSUM;
}

/* Words on their way to the output. */
struct sink {
    struct plum_output *output;
    struct plum_crc crc;
    uint32_t words, pending, shift;
    int32_t best;
};

static void give_word(struct sink *sink, uint32_t word) {
    if (sink->output->words) sink->output->words[sink->words] = word;
    plum_crc_word(&sink->crc, word);
    ++sink->words;
}

static plum_error do_results(struct plum_device *device, const uint32_t *step, struct sink *sink) {
    enum { BLOCK = 8 };
    const uint32_t count = step[PLUM_STEP__COUNT];
    uint32_t words[BLOCK];
    for (uint32_t i = 0; i < count; ++i) {
        if (i % BLOCK == 0) {
            const uint32_t left = count - i, block = left < BLOCK ? left : BLOCK;
            const plum_error error = plum_read(device, PLUM_SPACE_RESULT, 0,
                                               step[PLUM_STEP__ADDRESS] + i, words, block);
            if (error) return error;
        }
        const uint32_t word = words[i % BLOCK];
        if (i == 0 || (int32_t)word > sink->best) {
            sink->best = (int32_t)word;
            sink->output->best = i;
        }
        give_word(sink, word);
    }
    return PLUM_OK;
}

static plum_error do_gather(struct plum_device *device, const struct plum_network *network,
                            const uint32_t *step, struct sink *sink) {
    const uint32_t *run = network->words + step[PLUM_STEP__DATA] / 4;
    uint32_t cluster = 0;
    while (!(step[PLUM_STEP__TARGETS] >> cluster & 1)) ++cluster;
    uint32_t read = UINT32_MAX; /* which word the two halves are of */
    uint32_t halves[2] = {0, 0};
    for (uint32_t i = 0; i < step[PLUM_STEP__COUNT]; ++i, run += PLUM_RUN__WORDS) {
        uint32_t zeros = run[PLUM_RUN__LENGTH], left = zeros, place = plum_place(run);
        if (run[PLUM_RUN__FIRST] != PLUM_ZEROS) {
            zeros = plum_zeros(run);
            left += zeros;
        }
        for (; left; --left, place += run[PLUM_RUN__STRIDE]) {
            if (left > zeros) {
                if (place / 8 != read) {
                    const uint32_t address = step[PLUM_STEP__ADDRESS] + place / 8;
                    const plum_error error =
                        plum_read(device, PLUM_SPACE_ACTIVATION, cluster, address, halves, 2);
                    if (error) return error;
                    read = place / 8;
                }
                const uint32_t byte = halves[place / 4 % 2] >> 8 * (place % 4) & 0xff;
                sink->pending |= byte << sink->shift;
            }
            sink->shift += 8;
            if (sink->shift == 32) {
                give_word(sink, sink->pending);
                sink->pending = sink->shift = 0;
            }
        }
    }
    return PLUM_OK;
}

plum_error plum_load(struct plum_device *device, const struct plum_network *network) {
    device->network = NULL;
    if (network->words[PLUM_NETWORK__CLUSTERS] != device->clusters) return PLUM_WRONG_ARRAY;
    for (uint32_t i = 0; i < 4; ++i) {
        if (network->words[PLUM_NETWORK__ARRAY + i] != device->array[i]) return PLUM_WRONG_ARRAY;
    }
    for (uint32_t i = 0; i < network->setup_count; ++i) {
        const plum_error error = do_load(device, network, network->steps + i * PLUM_STEP__WORDS);
        if (error) return error;
    }
    device->network = network;
    return PLUM_OK;
}

static plum_error check_pixels(const struct plum_network *network, const uint8_t *pixels) {
    if (network->bits == 8) return PLUM_OK;
    for (uint32_t i = 0; i < network->pixels; ++i) {
        if (pixels[i] >> network->bits) return PLUM_BAD_PIXEL;
    }
    return PLUM_OK;
}

plum_error plum_classify(struct plum_device *device, const uint8_t *pixels, uint32_t bytes,
                         struct plum_output *output) {
    const struct plum_network *network = device->network;
    if (network == NULL) return PLUM_NOT_LOADED;
    if (bytes != network->pixels) return PLUM_WRONG_SHAPE;
    if (output->words && output->bytes < (network->output_bytes + 3) / 4 * 4) {
        return PLUM_SMALL_BUFFER;
    }
    plum_error error = check_pixels(network, pixels);
    struct sink sink = {.output = output};
    bool giving = false;
    output->cycles = output->best = 0;
    for (uint32_t i = network->setup_count; i < network->step_count && !error; ++i) {
        const uint32_t *step = network->steps + i * PLUM_STEP__WORDS;
        const uint32_t kind = step[PLUM_STEP__KIND];
        if (!giving && (kind == PLUM_STEP_RESULTS || kind == PLUM_STEP_GATHER)) {
            giving = true;
            plum_crc_begin(&sink.crc);
        }
        switch (kind) {
        case PLUM_STEP_LOAD: error = do_load(device, network, step); break;
        case PLUM_STEP_INPUT: error = plum_send_image(device, network, step, pixels); break;
        case PLUM_STEP_RUN:
            error = plum_run(device, step[PLUM_STEP__ADDRESS], step[PLUM_STEP__COUNT],
                             &output->cycles);
            break;
        case PLUM_STEP_RESULTS: error = do_results(device, step, &sink); break;
        default: error = do_gather(device, network, step, &sink); break;
        }
    }
    if (error) return error;
    if (sink.shift) give_word(&sink, sink.pending);
    output->crc = plum_crc_end(&sink.crc);
    return PLUM_OK;
}
