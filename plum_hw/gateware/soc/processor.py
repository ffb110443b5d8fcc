"""The processor: PicoRV32, from its package."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from amaranth.hdl import C, Cat, ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from plum_hw.errors import BuildError
from plum_hw.gateware.soc.bus import BusPort
from plum_hw.registers import FIRST_INTERRUPT, SYSTEM

_INTERRUPTS = len(SYSTEM.register("INTERRUPTS").fields)
_PACKAGE = "pythondata_cpu_picorv32"


def picorv32_verilog() -> str:
    """The processor's source. Raises `BuildError` where its package is missing."""
    found = find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise BuildError(
            f"the Python package {_PACKAGE} is missing, which has the controller's processor; "
            "pip install 'plum-hw[hw]'"
        )
    return (Path(found.origin).parent / "verilog" / "picorv32.v").read_text()


class Processor(wiring.Component):
    """PicoRV32 as an RV32I without counters, multiplication and interrupt handlers.

    An instruction takes 5 cycles and more. Interrupts are not taken: they stay masked, and only end
    the `waitirq` with which firmware sleeps, so that firmware has one flow of control. They are
    levels, and it is whoever raised one that ends it.
    Ref: https://github.com/YosysHQ/picorv32, README

    Members
    -------
    bus : accesses
    interrupts : in the order of SYSTEM.INTERRUPTS
    trapped : the processor has stopped for good: an illegal instruction or a misaligned access
    """

    def __init__(self) -> None:
        super().__init__({"bus": Out(BusPort), "interrupts": In(_INTERRUPTS), "trapped": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        platform.add_file("picorv32.v", picorv32_verilog())
        bus = self.bus
        m.submodules.core = Instance(
            "picorv32",
            p_ENABLE_COUNTERS=0,
            p_ENABLE_COUNTERS64=0,
            p_ENABLE_IRQ=1,
            p_ENABLE_IRQ_QREGS=0,
            p_ENABLE_IRQ_TIMER=0,
            p_LATCHED_IRQ=0,
            p_MASKED_IRQ=~(((1 << _INTERRUPTS) - 1) << FIRST_INTERRUPT) & 0xFFFFFFFF,
            i_clk=ClockSignal(),
            i_resetn=~ResetSignal(allow_reset_less=True),
            o_trap=self.trapped,
            o_mem_valid=bus.valid,
            i_mem_ready=bus.ready,
            o_mem_addr=bus.address,
            o_mem_wdata=bus.data,
            o_mem_wstrb=bus.strobes,
            i_mem_rdata=bus.read,
            # None beside it computes.
            i_pcpi_wr=0,
            i_pcpi_rd=0,
            i_pcpi_wait=0,
            i_pcpi_ready=0,
            i_irq=Cat(C(0, FIRST_INTERRUPT), self.interrupts, C(0, 32))[:32],
        )
        return m
