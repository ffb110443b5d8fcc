#include "console.h"

#include "soc.h"

static void put(char byte) {
    if (byte == '\n') soc_put('\r');
    soc_put(byte);
}

static void put_text(const char *text) {
    while (*text) put(*text++);
}

static void put_hex(uint32_t value) {
    for (int shift = 28; shift >= 0; shift -= 4) put("0123456789abcdef"[value >> shift & 15]);
}

static void put_decimal(uint64_t value) {
    /* By subtraction: a processor without division takes longer to divide. */
    static const uint64_t powers[] = {
        10000000000000000000u, 1000000000000000000u, 100000000000000000u, 10000000000000000u,
        1000000000000000u, 100000000000000u, 10000000000000u, 1000000000000u, 100000000000u,
        10000000000u, 1000000000u, 100000000u, 10000000u, 1000000u, 100000u, 10000u, 1000u, 100u,
        10u, 1u,
    };
    bool begun = false;
    for (uint32_t i = 0; i < 20; ++i) {
        const uint64_t power = powers[i];
        if (power > value && !begun && i < 19) continue;
        char digit = '0';
        for (; value >= power; value -= power) ++digit;
        put(digit);
        begun = true;
    }
}

void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    for (; *format; ++format) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        switch (*++format) {
        case 's': put_text(va_arg(arguments, const char *)); break;
        case 'c': put((char)va_arg(arguments, int)); break;
        case 'u': put_decimal(va_arg(arguments, uint32_t)); break;
        case 'q': put_decimal(va_arg(arguments, uint64_t)); break;
        case 'x': put_hex(va_arg(arguments, uint32_t)); break;
        case 'd': {
            const int32_t value = va_arg(arguments, int32_t);
            if (value < 0) put('-');
            put_decimal(value < 0 ? 0u - (uint32_t)value : (uint32_t)value);
            break;
        }
        default: put(*format); break;
        }
    }
    va_end(arguments);
}

bool take_line(struct line *line) {
    while (soc_readable()) {
        const char byte = (char)soc_get(0);
        if (byte == '\r' || byte == '\n') {
            /* The second half of a line's end, or an empty line, is no line. */
            if (line->length == 0) continue;
            put('\n');
            line->text[line->length] = 0;
            line->length = 0;
            return true;
        }
        if (byte == '\b' || byte == 0x7f) {
            if (line->length) {
                --line->length;
                put_text("\b \b");
            }
        } else if (byte >= ' ' && byte < 0x7f && line->length < sizeof line->text - 1) {
            line->text[line->length++] = byte;
            put(byte);
        }
    }
    return false;
}

char *next_word(char **rest) {
    char *word = *rest;
    while (*word == ' ') ++word;
    if (*word == 0) return 0;
    char *end = word;
    while (*end && *end != ' ') ++end;
    *rest = end;
    if (*end) {
        *end = 0;
        *rest = end + 1;
    }
    return word;
}

bool parse_number(const char *word, uint32_t *value) {
    uint32_t number = 0;
    if (word == 0 || *word == 0) return false;
    for (; *word; ++word) {
        const uint32_t digit = (uint32_t)(*word - '0');
        if (digit > 9 || number > UINT32_MAX / 10 - 1) return false;
        number = (number << 3) + (number << 1) + digit;
    }
    *value = number;
    return true;
}
