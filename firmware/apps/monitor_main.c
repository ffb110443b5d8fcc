/* Only the console: for a first look at a board, and for one whose flash is not trusted. */
#include "console.h"
#include "monitor.h"

static struct board board;

int main(void) {
    say("\nplum_hw monitor\n");
    board_open(&board);
    monitor(&board);
}
