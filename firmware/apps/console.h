/* Lines of text over the serial port. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

/* As printf, with %s, %c, %u, %d, %x (eight digits) and %q (uint64_t, decimal) only; a newline is sent
 * as carriage return and newline. */
void say(const char *format, ...);

/* Take what has come of a line; true when it is complete, without its end and ended by a zero byte.
 * What was typed is sent back, and backspace takes it away. */
struct line {
    char text[80];
    uint32_t length;
};
bool take_line(struct line *line);

/* The next word of a line, or NULL; *rest goes on behind it. */
char *next_word(char **rest);
/* A decimal number; false where the word is none. */
bool parse_number(const char *word, uint32_t *value);

#endif
