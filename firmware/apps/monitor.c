#include "monitor.h"

#include <string.h>

#include "console.h"

#define PAGE_BYTES 256u
#define ERASE_BYTES 65536u

static void say_number_error(const char *word) {
    say("error: %s is no number that fits here; try help\n", word ? word : "nothing");
}

/* An optional number among the arguments. */
static bool number_or(char **rest, uint32_t *value) {
    const char *word = next_word(rest);
    if (word == NULL || parse_number(word, value)) return true;
    say_number_error(word);
    return false;
}

static bool ready(const struct board *board) {
    if (board->device.network) return true;
    say_error(PLUM_NOT_LOADED);
    return false;
}

/* ---- commands -------------------------------------------------------------------------------- */

static void info(struct board *board, char *rest) {
    (void)rest;
    board_open(board);
    const struct plum_device *device = &board->device;
    say("words: code %u, table %u, activation %u, result %u\n", device->code_words,
        device->table_words, device->activation_words, device->result_words);
    say("cycles since reset %q\n", soc_cycles());
    for (uint32_t i = 0; i < SOC_SLOTS; ++i) {
        struct plum_slot slot;
        struct plum_section section;
        const plum_error error = plum_slot_open(&slot, soc_slot(i), soc_slot_bytes());
        if (error) {
            say("slot %u: %s\n", i, plum_error_text(error));
            continue;
        }
        say("slot %u: sequence %u, bytes %u\n", i, slot.sequence, slot.bytes);
        for (uint32_t j = 0; plum_slot_section(&slot, j, &section) == PLUM_OK; ++j) {
            say("  %s %s, bytes %u, crc %x\n",
                section.kind == PLUM_KIND_NETWORK ? "network" : "images", section.name,
                section.bytes, section.crc);
        }
    }
}

static void load(struct board *board, char *rest) {
    uint32_t index = UINT32_MAX;
    if (!number_or(&rest, &index)) return;
    if (index == UINT32_MAX) {
        const plum_error error = board_load(board);
        if (error) say_error(error);
    } else if (index < SOC_SLOTS) {
        board_load_slot(board, index);
    } else {
        say_error(PLUM_NO_SLOT);
    }
}

static void run(struct board *board, char *rest) {
    uint32_t first = 0, count = UINT32_MAX;
    struct tally tally = {0};
    const char *word = next_word(&rest);
    if (word) {
        if (!parse_number(word, &first)) {
            say_number_error(word);
            return;
        }
        count = 1;
    }
    if (!number_or(&rest, &count) || !ready(board)) return;
    if (first >= board->images.count) {
        say_error(PLUM_NOT_FOUND);
        return;
    }
    board_run(board, first, count, &tally);
}

static void selftest(struct board *board, char *rest) {
    struct tally tally = {0};
    (void)rest;
    if (!ready(board)) return;
    if (board->images.expected == NULL) {
        say_error(PLUM_NOT_FOUND);
        return;
    }
    board_run(board, 0, UINT32_MAX, &tally);
    const bool good = tally.expected == board->images.count;
    say("selftest %s: %u of %u as expected\n", good ? "passed" : "FAILED", tally.expected,
        board->images.count);
}

static void counters(struct board *board, char *rest) {
    static const char *const names[] = {"cycles", "beats", "drain stalls", "emit stalls"};
    struct plum_device *device = &board->device;
    uint32_t value;
    plum_error error = PLUM_OK;
    (void)rest;
    for (uint32_t i = 0; i < sizeof names / sizeof *names && !error; ++i) {
        error = plum_counter(device, i, &value);
        if (!error) say("%s %u\n", names[i], value);
    }
    /* A run takes as many cycles as its layers. */
    uint32_t left = 0;
    if (!error) error = plum_counter(device, PLUM_COUNTER_CYCLES, &left);
    for (uint32_t i = 0; left && !error && plum_layer_cycles(device, i, &value) == PLUM_OK; ++i) {
        if (value == 0 || value > left) break;
        left -= value;
        say("layer %u: cycles %u\n", i, value);
    }
    if (error) say_error(error);
}

static void memtest(struct board *board, char *rest) {
    static const char *const names[] = {"code", "table", "activation"};
    (void)rest;
    if (board->found) {
        say_error(board->found);
        return;
    }
    for (uint32_t cluster = 0; cluster < board->device.clusters; ++cluster) {
        for (uint32_t space = 0; space <= PLUM_SPACE_ACTIVATION; ++space) {
            uint32_t address;
            const plum_error error =
                plum_memory_test(&board->device, space, cluster, &address);
            say("cluster %u %s: ", cluster, names[space]);
            if (error) {
                say("word %u: ", address);
                say_error(error);
            } else {
                say("good\n");
            }
        }
    }
    say("memories hold patterns now; load the network again\n");
}

static void verify(struct board *board, char *rest) {
    (void)board;
    (void)rest;
    for (uint32_t i = 0; i < SOC_SLOTS; ++i) {
        struct plum_slot slot;
        plum_error error = plum_slot_open(&slot, soc_slot(i), soc_slot_bytes());
        if (!error) error = plum_slot_verify(&slot);
        say("slot %u: ", i);
        if (error) {
            say_error(error);
        } else {
            say("good\n");
        }
    }
}

/* Bytes and their CRC-32 from the line, `count` a multiple of four; false when they stay out for a
 * second, or arrive damaged. */
static bool receive(uint32_t *words, uint32_t count) {
    uint8_t *bytes = (uint8_t *)words;
    const uint32_t second = SOC_REGISTER(SYSTEM, CLOCK);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count + 4; ++i) {
        const int byte = soc_get(second);
        if (byte < 0) return false;
        if (i < count) {
            bytes[i] = (uint8_t)byte;
        } else {
            sum |= (uint32_t)byte << 8 * (i - count);
        }
    }
    return plum_crc_words(words, count / 4) == sum;
}

static void image(struct board *board, char *rest) {
    uint32_t *words = board->pixels;
    (void)rest;
    if (!ready(board)) return;
    const uint32_t bytes = board->network.pixels, padded = (bytes + 3) / 4 * 4;
    if (bytes > sizeof board->pixels) {
        say_error(PLUM_SMALL_BUFFER);
        return;
    }
    say("send %u bytes and CRC-32\n", padded);
    if (!receive(words, padded)) {
        say_error(PLUM_BAD_CHECKSUM);
        return;
    }
    struct plum_output output = {0};
    const plum_error error =
        plum_classify(&board->device, (const uint8_t *)words, bytes, &output);
    if (error) {
        say_error(error);
        return;
    }
    say("class %u %s, cycles %q, crc %x\n", output.best, plum_label(&board->network, output.best),
        output.cycles, output.crc);
    SOC_REGISTER(SYSTEM, LEDS) = output.best;
}

/* A new slot over the line: first all is erased, then pages come one by one, the first one last, so
 * that what breaks off leaves no slot rather than half of one. */
static void update(struct board *board, char *rest) {
    uint32_t *page = board->pixels;
    uint32_t index = SOC_SLOTS, bytes = 0;
    if (!number_or(&rest, &index) || !number_or(&rest, &bytes)) return;
    if (index >= SOC_SLOTS || bytes == 0 || bytes > soc_slot_bytes()) {
        say("error: update SLOT BYTES; there are %u slots of %u bytes\n", SOC_SLOTS,
            soc_slot_bytes());
        return;
    }
    const uint32_t base = SOC_REGISTER(SYSTEM, FLASH_BASE) + (index ? soc_slot_bytes() : 0);
    /* Maps and labels of a loaded network are read from its slot. */
    if (index == board->slot_index) {
        board->device.network = NULL;
        board->images.count = 0;
    }
    for (uint32_t place = 0; place < bytes; place += ERASE_BYTES) {
        if (!soc_flash_erase(base + place)) {
            say("error: the flash does not get ready\n");
            return;
        }
    }
    const uint32_t pages = (bytes + PAGE_BYTES - 1) / PAGE_BYTES;
    for (uint32_t i = 1; i <= pages; ++i) {
        const uint32_t number = i < pages ? i : 0;
        say("send page %u\n", number);
        if (!receive(page, PAGE_BYTES)) {
            say_error(PLUM_BAD_CHECKSUM);
            return;
        }
        const uint32_t place = base + number * PAGE_BYTES;
        if (!soc_flash_program(place, (const uint8_t *)page, PAGE_BYTES)) {
            say("error: the flash does not get ready\n");
            return;
        }
        if (memcmp((const void *)(PLUM_FLASH_BASE + place), page, PAGE_BYTES) != 0) {
            say_error(PLUM_MEMORY_FAULT);
            return;
        }
    }
    say("slot %u written\n", index);
}

static void reboot(struct board *board, char *rest) {
    (void)board;
    (void)rest;
    while (!(SOC_REGISTER(SERIAL, STATUS) & PLUM_SERIAL_STATUS_IDLE)) {}
    ((void (*)(void))PLUM_ROM_BASE)();
}

static void help(struct board *board, char *rest);

static const struct {
    const char *name, *arguments, *text;
    void (*call)(struct board *board, char *rest);
} commands[] = {
    {"help", "", "this list", help},
    {"info", "", "array, clock, flash, slots", info},
    {"load", " [SLOT]", "load the network of a slot, or of the newest good one", load},
    {"run", " [FIRST [COUNT]]", "classify images of the slot", run},
    {"image", "", "classify an image that is sent", image},
    {"counters", "", "cycles and stalls of the last run", counters},
    {"selftest", "", "all images of the slot, outputs compared", selftest},
    {"memtest", "", "write and read all memories of the array", memtest},
    {"verify", "", "checksums of both slots", verify},
    {"update", " SLOT BYTES", "receive a slot and write it to the flash", update},
    {"reboot", "", "start anew", reboot},
};

static void help(struct board *board, char *rest) {
    (void)board;
    (void)rest;
    for (uint32_t i = 0; i < sizeof commands / sizeof *commands; ++i) {
        say("%s%s: %s\n", commands[i].name, commands[i].arguments, commands[i].text);
    }
}

/* ---- console --------------------------------------------------------------------------------- */

static void serve(struct board *board, char *text) {
    char *rest = text;
    const char *name = next_word(&rest);
    if (name == NULL) return;
    for (uint32_t i = 0; i < sizeof commands / sizeof *commands; ++i) {
        if (strcmp(name, commands[i].name) == 0) {
            commands[i].call(board, rest);
            return;
        }
    }
    say("error: no command %s; try help\n", name);
}

static void button(struct board *board) {
    struct tally tally = {0};
    say("\n");
    if (!ready(board)) return;
    if (board->next >= board->images.count) board->next = 0;
    board_run(board, board->next, 1, &tally);
    ++board->next;
}

void monitor(struct board *board) {
    struct line line = {.length = 0};
    uint32_t pressed = SOC_REGISTER(SYSTEM, BUTTONS);
    for (;;) {
        say("plum> ");
        for (;;) {
            if (take_line(&line)) {
                serve(board, line.text);
                break;
            }
            const uint32_t now = SOC_REGISTER(SYSTEM, BUTTONS);
            const uint32_t more = now & ~pressed;
            pressed = now;
            if (more) {
                button(board);
                break;
            }
            if (now == 0) {
                SOC_REGISTER(SYSTEM, INTERRUPTS) =
                    PLUM_SYSTEM_INTERRUPTS_RECEIVED | PLUM_SYSTEM_INTERRUPTS_BUTTON;
                soc_wait_interrupt();
            }
        }
    }
}
