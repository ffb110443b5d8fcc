#include "soc.h"

/* ---- time ------------------------------------------------------------------------------------ */

uint32_t soc_ticks(void *context) {
    (void)context;
    return SOC_REGISTER(TIMER, LOW);
}

uint64_t soc_cycles(void) {
    const uint32_t low = SOC_REGISTER(TIMER, LOW);
    return (uint64_t)SOC_REGISTER(TIMER, HIGH) << 32 | low;
}

void soc_sleep(void *context, uint32_t ticks) {
    (void)context;
    SOC_REGISTER(TIMER, ALARM) = ticks;
    SOC_REGISTER(SYSTEM, INTERRUPTS) = PLUM_SYSTEM_INTERRUPTS_DONE | PLUM_SYSTEM_INTERRUPTS_ALARM;
    soc_wait_interrupt();
    SOC_REGISTER(TIMER, ALARM) = 0;
}

/* ---- serial line ----------------------------------------------------------------------------- */

void soc_put(char byte) {
    while (!(SOC_REGISTER(SERIAL, STATUS) & PLUM_SERIAL_STATUS_WRITABLE)) {}
    SOC_REGISTER(SERIAL, DATA) = (uint8_t)byte;
}

bool soc_readable(void) {
    return (SOC_REGISTER(SERIAL, STATUS) & PLUM_SERIAL_STATUS_READABLE) != 0;
}

int soc_get(uint32_t ticks) {
    const uint32_t begin = soc_ticks(NULL);
    while (!soc_readable()) {
        if (soc_ticks(NULL) - begin >= ticks) return -1;
    }
    return (int)SOC_REGISTER(SERIAL, DATA);
}

/* ---- flash ----------------------------------------------------------------------------------- */

/* Commands of SPI flashes. Ref: JEDEC JESD216; Winbond W25Q128JV data sheet, "Instructions". */
enum {
    WRITE_ENABLE = 0x06,
    READ_STATUS = 0x05,
    PAGE_PROGRAM = 0x02,
    BLOCK_ERASE = 0xd8,
    RELEASE_POWER_DOWN = 0xab,
    READ_IDENTITY = 0x9f,
};
#define STATUS_BUSY 1u
/* An erase takes up to 2 s on the flashes of common boards. */
#define READY_SECONDS 4u

static void flash_select(void) { SOC_REGISTER(SPI, CONTROL) = PLUM_SPI_CONTROL_SELECT; }

static void flash_release(void) {
    SOC_REGISTER(SPI, CONTROL) = 0;
    /* Until chip select has been high long enough; a register access takes five cycles. */
    for (int i = 0; i < 16; ++i) (void)SOC_REGISTER(SPI, STATUS);
}

static uint32_t flash_byte(uint32_t byte) {
    SOC_REGISTER(SPI, DATA) = byte;
    while (SOC_REGISTER(SPI, STATUS) & PLUM_SPI_STATUS_BUSY) {}
    return SOC_REGISTER(SPI, DATA);
}

static void flash_command(uint32_t command, uint32_t place) {
    flash_select();
    flash_byte(command);
    for (int shift = 16; shift >= 0; shift -= 8) flash_byte(place >> shift & 0xff);
}

static void flash_alone(uint32_t command) {
    flash_select();
    flash_byte(command);
    flash_release();
}

static bool flash_ready(void) {
    const uint64_t end = soc_cycles() + (uint64_t)READY_SECONDS * SOC_REGISTER(SYSTEM, CLOCK);
    do {
        flash_select();
        flash_byte(READ_STATUS);
        const uint32_t status = flash_byte(0);
        flash_release();
        if (!(status & STATUS_BUSY)) return true;
    } while (soc_cycles() < end);
    return false;
}

uint32_t soc_flash_wake(void) {
    flash_alone(RELEASE_POWER_DOWN);
    /* A flash needs up to 30 us to wake up. */
    const uint32_t begin = soc_ticks(NULL);
    while (soc_ticks(NULL) - begin < SOC_REGISTER(SYSTEM, CLOCK) >> 15) {}
    flash_select();
    flash_byte(READ_IDENTITY);
    uint32_t identity = 0;
    for (int i = 0; i < 3; ++i) identity = identity << 8 | flash_byte(0);
    flash_release();
    return identity;
}

const uint32_t *soc_slot(uint32_t index) {
    return (const uint32_t *)(PLUM_FLASH_BASE + SOC_REGISTER(SYSTEM, FLASH_BASE) +
                              (index ? soc_slot_bytes() : 0));
}

uint32_t soc_slot_bytes(void) { return SOC_REGISTER(SYSTEM, SLOT_BYTES); }

bool soc_flash_erase(uint32_t place) {
    flash_alone(WRITE_ENABLE);
    flash_command(BLOCK_ERASE, place);
    flash_release();
    return flash_ready();
}

bool soc_flash_program(uint32_t place, const uint8_t *bytes, uint32_t count) {
    flash_alone(WRITE_ENABLE);
    flash_command(PAGE_PROGRAM, place);
    for (; count; --count) flash_byte(*bytes++);
    flash_release();
    return flash_ready();
}
