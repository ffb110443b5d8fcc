/* A console over the serial port. */
#ifndef MONITOR_H
#define MONITOR_H

#include "board.h"

/* Serve commands, and classify the next image when a button is pressed; never returns. */
_Noreturn void monitor(struct board *board);

#endif
