"""Registers in a stream, where the way is long."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class _Register(wiring.Component):
    """What they have in common.

    Parameters
    ----------
    shape : of the payload

    Members
    -------
    i, o : the stream before and behind the register
    """

    def __init__(self, shape) -> None:
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})


class StreamRegister(_Register):
    """Hands on what it gets a cycle later, at one item a cycle; `ready` goes through it."""

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


class SpareRegister(_Register):
    """Keeps an item that is not taken at once, so that `ready` does not go through it; the items
    do, an item a cycle.
    """

    def elaborate(self, platform) -> Module:
        m = Module()
        kept, item = Signal(), Signal.like(self.i.payload)
        m.d.comb += [
            self.i.ready.eq(~kept),
            self.o.valid.eq(kept | self.i.valid),
            self.o.payload.eq(Mux(kept, item, self.i.payload)),
        ]
        m.d.sync += kept.eq(self.o.valid & ~self.o.ready)
        with m.If(~kept):
            m.d.sync += item.eq(self.i.payload)
        return m


class LongRegister(_Register):
    """A `SpareRegister` before a `StreamRegister`: neither way goes through it, an item a cycle."""

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.spare = spare = SpareRegister(self._shape)
        m.submodules.register = register = StreamRegister(self._shape)
        wiring.connect(m, wiring.flipped(self.i), spare.i)
        wiring.connect(m, spare.o, register.i)
        wiring.connect(m, register.o, wiring.flipped(self.o))
        return m
