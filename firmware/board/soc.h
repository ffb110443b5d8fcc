/* plum_hw's controller: what the applications need of the board. */
#ifndef SOC_H
#define SOC_H

#include "plum.h"

#define SOC_REGISTER(block, name) \
    (*(volatile uint32_t *)(PLUM_##block##_BASE + PLUM_##block##_##name))

/* ---- time ------------------------------------------------------------------------------------ */

uint32_t soc_ticks(void *context);  /* clock cycles; for struct plum_platform */
uint64_t soc_cycles(void);          /* since reset */
void soc_sleep(void *context, uint32_t ticks); /* until the accelerator's interrupt, or so long */
uint32_t soc_wait_interrupt(void);

/* ---- serial line ----------------------------------------------------------------------------- */

void soc_put(char byte);
/* The next byte, or -1 when none came for so many clock cycles. */
int soc_get(uint32_t ticks);
bool soc_readable(void);

/* ---- flash ----------------------------------------------------------------------------------- */

#define SOC_SLOTS 2u

/* End a sleep that the flash may be in, and read its JEDEC identity: maker, type, size. */
uint32_t soc_flash_wake(void);
const uint32_t *soc_slot(uint32_t index);
uint32_t soc_slot_bytes(void);
/* Erase 64 KiB, or write up to 256 bytes of one page; false when the flash does not get ready. Places
 * are bytes of the flash. */
bool soc_flash_erase(uint32_t place);
bool soc_flash_program(uint32_t place, const uint8_t *bytes, uint32_t count);

#endif
