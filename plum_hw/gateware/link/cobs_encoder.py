"""Packets to a byte stream: COBS."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from plum_hw.gateware.link.symbols import Mark, Symbol

_FULL = 254  # bytes of the longest block; its code, 255, stands for no zero


class _Block(data.Struct):
    """A finished block: its length and whether the packet ends with it."""

    bytes: 8
    last: 1


class CobsEncoder(wiring.Component):
    """Consistent-overhead byte stuffing with a closing 0x00.

    The code before a block is its length, so a block waits in a FIFO until it is complete. The
    output is busy in every cycle while the input keeps up: one byte a cycle. After a reset a 0x00
    comes first.

    Members
    -------
    i : a packet's bytes, then END; BAD does not occur here
    o : bytes of the line
    """

    i: In(stream.Signature(Symbol))
    o: Out(stream.Signature(8))

    def elaborate(self, platform) -> Module:
        m = Module()
        # Twice a full block, so that one fills while another leaves.
        m.submodules.bytes = store = SyncFIFOBuffered(width=8, depth=2 * (_FULL + 2))
        m.submodules.blocks = blocks = SyncFIFOBuffered(width=9, depth=16)
        self._cut(m, store, blocks)
        self._send(m, store, blocks)
        return m

    def _cut(self, m: Module, store: SyncFIFOBuffered, blocks: SyncFIFOBuffered) -> None:
        """Cut the packet into blocks."""
        length = Signal(8)  # bytes of the block so far
        block = Signal(_Block)
        full = length == _FULL
        is_end = self.i.payload.mark != Mark.DATA
        is_zero = ~is_end & (self.i.payload.data == 0)
        closes = is_end | is_zero | full
        # A full block is closed only when something follows, which then waits for a cycle: a packet
        # that ends with a full block owes nothing behind it.
        takes = ~full | is_end
        room = Mux(closes, blocks.w_rdy, store.w_rdy)
        m.d.comb += [
            block.bytes.eq(length),
            block.last.eq(is_end),
            blocks.w_data.eq(block),
            blocks.w_en.eq(self.i.valid & closes),
            store.w_data.eq(self.i.payload.data),
            store.w_en.eq(self.i.valid & ~closes),
            self.i.ready.eq(room & takes),
        ]
        with m.If(self.i.valid & room):
            with m.If(closes):
                m.d.sync += length.eq(0)
            with m.Else():
                m.d.sync += length.eq(length + 1)

    def _send(self, m: Module, store: SyncFIFOBuffered, blocks: SyncFIFOBuffered) -> None:
        """Send code, block, and the closing zero."""
        left = Signal(8)
        # Out of a reset, so that whatever was cut by it is over.
        ending = Signal(init=1)
        block = _Block(blocks.r_data)
        sending = left != 0
        room = ~self.o.valid | self.o.ready

        with m.If(room):
            m.d.sync += self.o.valid.eq(0)
            with m.If(sending):
                m.d.comb += store.r_en.eq(1)
                m.d.sync += [
                    self.o.payload.eq(store.r_data),
                    self.o.valid.eq(store.r_rdy),
                ]
                with m.If(store.r_rdy):
                    m.d.sync += left.eq(left - 1)
            with m.Elif(ending):
                m.d.sync += [self.o.payload.eq(0), self.o.valid.eq(1), ending.eq(0)]
            with m.Elif(blocks.r_rdy):
                m.d.comb += blocks.r_en.eq(1)
                m.d.sync += [
                    self.o.payload.eq(block.bytes + 1),
                    self.o.valid.eq(1),
                    left.eq(block.bytes),
                    ending.eq(block.last),
                ]
