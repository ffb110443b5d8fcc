/* Reset: clear .bss, set the stack, go to main. PicoRV32 starts at address 0 with interrupts masked. */
    .section .text.start, "ax"
    .globl _start
_start:
    la   sp, __stack_top
    la   a0, __bss_start
    la   a1, __bss_end
1:  bgeu a0, a1, 2f
    sw   zero, 0(a0)
    addi a0, a0, 4
    j    1b
2:  call main
3:  j    3b

/* uint32_t soc_wait_interrupt(void): sleep until an interrupt that SYSTEM.INTERRUPTS lets through; it
 * is not taken, for all are masked. `waitirq a0` is PicoRV32's own instruction:
 * opcode 0001011, funct7 0000100, rd = a0. */
    .section .text.soc_wait_interrupt, "ax"
    .globl soc_wait_interrupt
soc_wait_interrupt:
    .word 0x0800000b | 10 << 7
    ret
