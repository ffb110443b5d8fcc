/* Written by python -m plum_hw.soc.export from plum_hw/registers.py; do not edit. */
#ifndef PLUM_REGS_H
#define PLUM_REGS_H

#define PLUM_MAP_VERSION 1u /* of this register map */
#define PLUM_ID 0x4d554c50u

/* The array. Its memories follow at `MEMORIES`. */
#define PLUM_ACCELERATOR_BASE 0x40000000u /* on the controller's bus */
#define PLUM_ACCELERATOR_ID 0x00u /* The letters "PLUM". */
#define PLUM_ACCELERATOR_VERSION 0x04u /* What this is. */
#define PLUM_ACCELERATOR_VERSION_MAP 0xffu /* version of this register map */
#define PLUM_ACCELERATOR_VERSION_CLUSTERS 0xff00u /* clusters of the array */
#define PLUM_ACCELERATOR_VERSION_CLUSTERS_SHIFT 8u
#define PLUM_ACCELERATOR_STATUS 0x08u /* How it goes. Bits that were written as 1 are cleared, but for BUSY and ERROR. */
#define PLUM_ACCELERATOR_STATUS_BUSY 0x1u /* a run is in progress */
#define PLUM_ACCELERATOR_STATUS_DONE 0x2u /* a run has ended, also by ABORT; START clears it */
#define PLUM_ACCELERATOR_STATUS_DONE_SHIFT 1u
#define PLUM_ACCELERATOR_STATUS_ERROR 0x4u /* an emission met another: the program is wrong; until START */
#define PLUM_ACCELERATOR_STATUS_ERROR_SHIFT 2u
#define PLUM_ACCELERATOR_STATUS_DENIED 0x8u /* something was asked for during a run, or START of no layer */
#define PLUM_ACCELERATOR_STATUS_DENIED_SHIFT 3u
#define PLUM_ACCELERATOR_CONTROL 0x0cu /* Commands. */
#define PLUM_ACCELERATOR_CONTROL_START 0x1u /* run LAYERS layers from PROGRAM on */
#define PLUM_ACCELERATOR_CONTROL_ABORT 0x2u /* stop at once; memories stay as they are */
#define PLUM_ACCELERATOR_CONTROL_ABORT_SHIFT 1u
#define PLUM_ACCELERATOR_PROGRAM 0x10u /* Word of code memory: the first layer. */
#define PLUM_ACCELERATOR_LAYERS 0x14u /* Layers of a run, at least one. */
#define PLUM_ACCELERATOR_TARGETS 0x18u /* Bit c: accesses to memories are for cluster c. Writes may be for many, reads for one. */
#define PLUM_ACCELERATOR_INTERRUPT 0x1cu /* 1: interrupt while STATUS.DONE is set. */
#define PLUM_ACCELERATOR_CYCLES 0x20u /* Clock cycles of the present or last run. */
#define PLUM_ACCELERATOR_RESULTS 0x24u /* Results of the present or last run. */
#define PLUM_ACCELERATOR_CODE_WORDS 0x30u /* Words of a code memory. */
#define PLUM_ACCELERATOR_TABLE_WORDS 0x34u /* Words of a table memory. */
#define PLUM_ACCELERATOR_ACTIVATION_WORDS 0x38u /* 8-byte words of an activation memory. */
#define PLUM_ACCELERATOR_RESULT_WORDS 0x3cu /* Words of the result memory. */
#define PLUM_ACCELERATOR_COUNTER_WORDS 0x40u /* Words of the counters. */
#define PLUM_ACCELERATOR_LAYER_WORDS 0x44u /* Words of a layer's descriptor. */

/* What this controller is, its lights and buttons. */
#define PLUM_SYSTEM_BASE 0x20000000u /* on the controller's bus */
#define PLUM_SYSTEM_CLOCK 0x00u /* Clock cycles a second. */
#define PLUM_SYSTEM_FLASH_BASE 0x04u /* Byte of the flash where the slots begin. */
#define PLUM_SYSTEM_SLOT_BYTES 0x08u /* Bytes of each of the two slots. */
#define PLUM_SYSTEM_LEDS 0x0cu /* Bit n: LED n is lit. */
#define PLUM_SYSTEM_BUTTONS 0x10u /* Bit n: button n is pressed. */
#define PLUM_SYSTEM_INTERRUPTS 0x14u /* What ends `waitirq`. */
#define PLUM_SYSTEM_INTERRUPTS_DONE 0x1u /* the accelerator's interrupt */
#define PLUM_SYSTEM_INTERRUPTS_ALARM 0x2u /* TIMER.ALARM has rung */
#define PLUM_SYSTEM_INTERRUPTS_ALARM_SHIFT 1u
#define PLUM_SYSTEM_INTERRUPTS_RECEIVED 0x4u /* the serial port has a byte */
#define PLUM_SYSTEM_INTERRUPTS_RECEIVED_SHIFT 2u
#define PLUM_SYSTEM_INTERRUPTS_BUTTON 0x8u /* a button is pressed */
#define PLUM_SYSTEM_INTERRUPTS_BUTTON_SHIFT 3u
#define PLUM_SYSTEM_FAULT 0x18u /* Accesses that went wrong. */
#define PLUM_SYSTEM_FAULT_UNMAPPED 0x1u /* an address where nothing is was read (0) or written */
#define PLUM_SYSTEM_RAM_BYTES 0x1cu /* Bytes of the RAM. */

/* Serial port, 8N1, with a queue each way. */
#define PLUM_SERIAL_BASE 0x20000100u /* on the controller's bus */
#define PLUM_SERIAL_STATUS 0x00u /* Both queues. LOST is cleared by writing 1. */
#define PLUM_SERIAL_STATUS_READABLE 0x1u /* DATA has a byte */
#define PLUM_SERIAL_STATUS_WRITABLE 0x2u /* DATA takes a byte */
#define PLUM_SERIAL_STATUS_WRITABLE_SHIFT 1u
#define PLUM_SERIAL_STATUS_LOST 0x4u /* bytes came and the queue was full */
#define PLUM_SERIAL_STATUS_LOST_SHIFT 2u
#define PLUM_SERIAL_STATUS_IDLE 0x8u /* everything was sent */
#define PLUM_SERIAL_STATUS_IDLE_SHIFT 3u
#define PLUM_SERIAL_DATA 0x04u /* Next byte received; a write sends. */

/* Counts clock cycles. */
#define PLUM_TIMER_BASE 0x20000200u /* on the controller's bus */
#define PLUM_TIMER_LOW 0x00u /* Cycles since reset; a read keeps HIGH. */
#define PLUM_TIMER_HIGH 0x04u /* Upper half, as of the last read of LOW. */
#define PLUM_TIMER_ALARM 0x08u /* Ring in so many cycles; 0: never. A write ends the ringing. */
#define PLUM_TIMER_STATUS 0x0cu /* The alarm. */
#define PLUM_TIMER_STATUS_RINGS 0x1u /* it rings */

/* The flash, byte by byte: for all but reading, which the window does. */
#define PLUM_SPI_BASE 0x20000300u /* on the controller's bus */
#define PLUM_SPI_CONTROL 0x00u /* Manual access. */
#define PLUM_SPI_CONTROL_SELECT 0x1u /* chip select is low; the window reads as 0 meanwhile */
#define PLUM_SPI_STATUS 0x04u /* Transfer. */
#define PLUM_SPI_STATUS_BUSY 0x1u /* a byte is on its way */
#define PLUM_SPI_DATA 0x08u /* Byte that came; a write sends one. */

/* CRC-32 (IEEE 802.3, as zlib's) of words, low byte first. */
#define PLUM_CHECKSUM_BASE 0x20000400u /* on the controller's bus */
#define PLUM_CHECKSUM_VALUE 0x00u /* CRC-32 of all words since RESTART. */
#define PLUM_CHECKSUM_DATA 0x04u /* The next word. */
#define PLUM_CHECKSUM_RESTART 0x08u /* Begin anew. */

/* Memories, by their offset from the accelerator's base. */
#define PLUM_MEMORY_CODE 0x00400000u
#define PLUM_MEMORY_TABLE 0x00480000u
#define PLUM_MEMORY_ACTIVATION 0x00500000u
#define PLUM_MEMORY_RESULT 0x00580000u
#define PLUM_MEMORY_COUNTER 0x00600000u
#define PLUM_MEMORY_IDENTITY 0x00780000u
#define PLUM_IDENTITY_MAGIC 0u /* its byte; 4 bytes */
#define PLUM_IDENTITY_VERSION 4u /* its byte; 1 bytes */
#define PLUM_IDENTITY_CLUSTERS 5u /* its byte; 1 bytes */
#define PLUM_IDENTITY_PACKET_BYTES 6u /* its byte; 2 bytes */
#define PLUM_IDENTITY_QUEUE_BYTES 8u /* its byte; 2 bytes */
#define PLUM_IDENTITY_RESULT_WORDS 10u /* its byte; 2 bytes */
#define PLUM_IDENTITY_CLOCK_KHZ 12u /* its byte; 4 bytes */
#define PLUM_IDENTITY_DIGEST 16u /* its byte; 16 bytes */
#define PLUM_IDENTITY_NAME 32u /* its byte; 16 bytes */
#define PLUM_IDENTITY_BUILD 48u /* its byte; 16 bytes */
#define PLUM_SPACE_CODE 0u
#define PLUM_SPACE_TABLE 1u
#define PLUM_SPACE_ACTIVATION 2u
#define PLUM_SPACE_RESULT 3u
#define PLUM_SPACE_COUNTER 4u
#define PLUM_SPACE_IDENTITY 7u

/* Words of PLUM_MEMORY_COUNTER. */
#define PLUM_COUNTER_CYCLES 0u
#define PLUM_COUNTER_BEATS 1u
#define PLUM_COUNTER_DRAIN_STALLS 2u
#define PLUM_COUNTER_EMIT_STALLS 3u
#define PLUM_COUNTER_LAYERS 16u /* first of the layers' cycles */

/* Memories on the controller's bus. */
#define PLUM_ROM_BASE 0x00000000u /* Firmware; the processor starts at 0. */
#define PLUM_ROM_BYTES 0x00010000u
#define PLUM_RAM_BASE 0x10000000u /* As much as `SYSTEM.RAM_BYTES`. */
#define PLUM_RAM_BYTES 0x00010000u
#define PLUM_FLASH_BASE 0x30000000u /* The flash's first 16 MiB, read only. */
#define PLUM_FLASH_BYTES 0x01000000u

#define PLUM_FIRST_INTERRUPT 3u /* bit of `waitirq` */

#endif
