"""The controller's bus, and what takes part of its addresses."""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

#: One access at a time. `valid` and all beside it stand still until `ready`, which comes at the
#: earliest in the cycle after `valid` rose, lasts one cycle, and is followed by one without
#: `valid`. `read` is zero without `ready`, so that answers can be put together with OR.
BusPort = wiring.Signature(
    {
        "valid": Out(1),
        "address": Out(32),  # of a byte; the lower two bits are of no account
        "strobes": Out(4),  # bytes that are written; 0: a read
        "data": Out(32),
        "ready": In(1),
        "read": In(32),
    }
)


def tag_of(base: int, size: int) -> tuple[int, int]:
    """Where the address bits that a range has in common begin, and what they are.

    Raises `ValueError` for a range that is not as `Interconnect` wants it.
    """
    if size & (size - 1) or base % size:
        raise ValueError(f"a range of {size} bytes from {base:#x} on cannot be decoded")
    low = (size - 1).bit_length()
    return low, base >> low


class Interconnect(wiring.Component):
    """Hands each access to the part of the bus whose range its address is in.

    Parameters
    ----------
    ranges : (base, bytes) of each part; bytes a power of two, base a multiple of it

    Members
    -------
    bus : from the processor
    parts : to what has those ranges
    unmapped : strobe, an access to no range; it is answered with 0
    """

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._tags = [tag_of(base, size) for base, size in ranges]
        super().__init__(
            {
                "bus": In(BusPort),
                "parts": Out(BusPort).array(len(self._tags)),
                "unmapped": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        missed = Signal()
        hits = []
        for (low, tag), part in zip(self._tags, self.parts, strict=True):
            hit = bus.address[low:] == tag
            hits.append(hit)
            m.d.comb += [
                part.valid.eq(bus.valid & hit),
                part.address.eq(bus.address[:low]),
                part.strobes.eq(bus.strobes),
                part.data.eq(bus.data),
            ]
        nowhere = ~reduce(or_, hits)
        m.d.comb += self.unmapped.eq(bus.valid & nowhere & ~missed)
        m.d.sync += missed.eq(self.unmapped)
        m.d.comb += [
            bus.ready.eq(reduce(or_, (part.ready for part in self.parts)) | missed),
            bus.read.eq(reduce(or_, (part.read for part in self.parts))),
        ]
        return m
