/* Boots a network from the flash, classifies the images beside it, then serves the console. */
#include "console.h"
#include "monitor.h"

static struct board board;

int main(void) {
    struct tally tally = {0};
    say("\nplum_hw standalone\n");
    board_open(&board);
    plum_error error = board_load(&board);
    if (error) {
        say("nothing to run: ");
        say_error(error);
    } else {
        say("booted after %q cycles\n", soc_cycles());
        board_run(&board, 0, UINT32_MAX, &tally);
        say("images %u", tally.done);
        if (tally.labelled) say(", right %u", tally.right);
        if (tally.comparable) say(", as expected %u", tally.expected);
        say(", failed %u\n", tally.failed);
    }
    monitor(&board);
}
