#include "board.h"

#include "console.h"

/* All LEDs: something went wrong. */
#define LEDS_ERROR 0xffu

void say_error(plum_error error) {
    SOC_REGISTER(SYSTEM, LEDS) = LEDS_ERROR;
    say("error %s: %s\n", plum_error_name(error), plum_error_text(error));
}

/* How long a run may take beyond what is predicted. */
#define RUN_SLACK_TICKS 100000u
/* Until a network is loaded. */
#define RUN_TICKS 100000000u

void board_open(struct board *board) {
    struct plum_platform *platform = &board->platform;
    platform->ticks = soc_ticks;
    platform->sleep = soc_sleep;
    if (platform->run_ticks == 0) platform->run_ticks = RUN_TICKS;

    const struct plum_network *loaded = board->device.network;
    const uint32_t flash = soc_flash_wake();
    board->found = plum_open(&board->device, (volatile uint32_t *)PLUM_ACCELERATOR_BASE, platform);
    if (board->found) {
        say_error(board->found);
        return;
    }
    board->device.network = loaded;
    const uint32_t *array = board->device.array;
    say("array ");
    for (uint32_t i = 0; i < 4; ++i) {
        /* As everywhere else, byte by byte. */
        const uint32_t word = array[i];
        say("%x", word << 24 | (word << 8 & 0xff0000u) | (word >> 8 & 0xff00u) | word >> 24);
    }
    say(", clusters %u, clock %u Hz, flash %x\n", board->device.clusters,
        SOC_REGISTER(SYSTEM, CLOCK), flash);
}

plum_error board_load_slot(struct board *board, uint32_t index) {
    board->device.network = NULL;
    board->images.count = 0;
    if (board->found) return board->found;
    plum_error error = plum_slot_open(&board->slot, soc_slot(index), soc_slot_bytes());
    if (!error) error = plum_network_find(&board->network, &board->slot, NULL);
    if (!error) error = plum_load(&board->device, &board->network);
    say("slot %u: ", index);
    if (error) {
        say_error(error);
        return error;
    }
    const struct plum_network *network = &board->network;
    board->slot_index = index;
    board->next = 0;
    /* What is predicted is exact, so a run that takes twice as long does not end. */
    const uint64_t ticks = 2 * network->predicted_cycles + RUN_SLACK_TICKS;
    board->platform.run_ticks = ticks > INT32_MAX ? INT32_MAX : (uint32_t)ticks;
    say("sequence %u, network %s, image %ux%ux%u, outputs %u, cycles %q\n", board->slot.sequence,
        network->name, network->channels, network->height, network->width, network->outputs,
        network->predicted_cycles);
    error = plum_images_find(&board->images, &board->slot, NULL);
    if (error && error != PLUM_NOT_FOUND) say_error(error);
    return PLUM_OK;
}

plum_error board_load(struct board *board) {
    struct plum_slot slots[SOC_SLOTS];
    plum_error errors[SOC_SLOTS];
    if (board->found) return board->found;
    for (uint32_t i = 0; i < SOC_SLOTS; ++i) {
        errors[i] = plum_slot_open(&slots[i], soc_slot(i), soc_slot_bytes());
        if (errors[i]) {
            say("slot %u: %s: %s\n", i, plum_error_name(errors[i]), plum_error_text(errors[i]));
        }
    }
    uint32_t first = 0;
    if (errors[0] || (!errors[1] && slots[1].sequence > slots[0].sequence)) first = 1;
    plum_error error = errors[first];
    for (uint32_t i = 0; i < SOC_SLOTS; ++i, first ^= 1) {
        if (errors[first]) continue;
        error = board_load_slot(board, first);
        if (!error) return PLUM_OK;
    }
    return error;
}

void board_run(struct board *board, uint32_t first, uint32_t count, struct tally *tally) {
    const struct plum_images *images = &board->images;
    tally->labelled = images->labels != NULL;
    tally->comparable = images->expected != NULL;
    for (uint32_t i = first; i < images->count && count; ++i, --count) {
        struct plum_output output = {0};
        const uint8_t *pixels = (const uint8_t *)board->pixels;
        const uint32_t begin = soc_ticks(NULL);
        plum_error error = images->pitch <= sizeof board->pixels
                               ? plum_image_copy(images, i, board->pixels)
                               : plum_image(images, i, &pixels);
        if (!error) error = plum_classify(&board->device, pixels, images->pixels, &output);
        const uint32_t took = soc_ticks(NULL) - begin;
        say("image %u: ", i);
        if (error) {
            ++tally->failed;
            say_error(error);
            continue;
        }
        ++tally->done;
        say("class %u %s", output.best, plum_label(&board->network, output.best));
        if (images->labels) {
            tally->right += images->labels[i] == output.best;
            say(", label %u", images->labels[i]);
        }
        say(", cycles %q of %u, crc %x", output.cycles, took, output.crc);
        if (images->expected) {
            const bool same = images->expected[i] == output.crc;
            tally->expected += same;
            say(same ? " as expected" : " NOT AS EXPECTED");
        }
        say("\n");
        SOC_REGISTER(SYSTEM, LEDS) = output.best;
    }
}
