"""Registers on the bus, made from their description."""

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from plum_hw.gateware.soc.bus import BusPort
from plum_hw.registers import Access, Block, Register


def field_bits(register: Register, **values: Any) -> Value:
    """A register's bits from the values of its fields; each must be given, as wide as it is."""
    names = [field.name.lower() for field in register.fields]
    if set(values) != set(names):
        raise ValueError(f"{register.name} has the fields {names}, not {sorted(values)}")
    parts: list[Value] = []
    place = 0
    for field in sorted(register.fields, key=lambda item: item.low):
        value = Value.cast(values[field.name.lower()])
        if len(value) != field.bits:
            raise ValueError(f"{register.name}.{field.name} has {field.bits} bits: {value!r}")
        parts += [C(0, field.low - place), value]
        place = field.low + field.bits
    return Cat(parts)


class RegisterBlock(wiring.Component):
    """Answers accesses to a block of registers in the cycle after they began.

    Parameters
    ----------
    block : Block

    Members
    -------
    bus : accesses, their addresses within the block
    written : what is being written
    NAME : the value of each register: an input, but an output of those with `Access.BOTH`
    NAME_written : strobe, of registers with `Access.WRITE`, `CLEAR` and `READ_TAKES`
    NAME_taken : strobe, of registers with `Access.READ_TAKES`
    """

    def __init__(self, block: Block) -> None:
        self._block = block
        members: dict[str, Any] = {"bus": In(BusPort), "written": Out(32)}
        for register in block.registers:
            name, access = register.name.lower(), register.access
            if access is Access.BOTH:
                members[name] = Out(register.bits)
            elif access is not Access.WRITE:
                members[name] = In(register.bits)
            if access in (Access.WRITE, Access.CLEAR, Access.READ_TAKES):
                members[f"{name}_written"] = Out(1)
            if access is Access.READ_TAKES:
                members[f"{name}_taken"] = Out(1)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        places = max(register.offset for register in self._block.registers) // 4 + 1
        place = bus.address[2 : 2 + (places - 1).bit_length()]
        write = bus.strobes.any()
        first = Signal()  # the access's first cycle
        m.d.comb += [self.written.eq(bus.data), first.eq(bus.valid & ~bus.ready)]
        m.d.sync += [bus.ready.eq(first), bus.read.eq(0)]
        with m.If(first), m.Switch(place):
            for register in self._block.registers:
                name, access = register.name.lower(), register.access
                with m.Case(register.offset // 4):
                    if access is not Access.WRITE:
                        m.d.sync += bus.read.eq(Mux(write, 0, getattr(self, name)))
                    if access is Access.BOTH:
                        with m.If(write):
                            m.d.sync += getattr(self, name).eq(bus.data)
                    if access in (Access.WRITE, Access.CLEAR, Access.READ_TAKES):
                        m.d.comb += getattr(self, f"{name}_written").eq(write)
                    if access is Access.READ_TAKES:
                        m.d.comb += getattr(self, f"{name}_taken").eq(~write)
        return m
