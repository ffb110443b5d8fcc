"""The sequencer: takes up a layer's descriptor when all clusters do."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.structs import struct_of
from plum_hw.layouts import layer_layout


class Sequencer(wiring.Component):
    """Holds the present layer's descriptor, and starts it where it has anything to do.

    When what happens is the conductor's business, the same for all clusters.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    load : `word` is the next of the descriptor, low word first; all are loaded in turn
    word : of code memory
    start : strobe; the descriptor is valid
    layer : descriptor of the present layer
    layer_start : strobe, in step with `start`, for a layer with passes
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        super().__init__(
            {
                "load": In(1),
                "word": In(32),
                "start": In(1),
                "layer": Out(struct_of(layer_layout(config))),
                "layer_start": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = layer_layout(self._config)
        descriptor = Signal(32 * layout.words)
        with m.If(self.load):
            m.d.sync += descriptor.eq(Cat(descriptor[32:], self.word))
        m.d.comb += [
            self.layer.eq(data.View(self.layer.shape(), descriptor[: layout.bits])),
            self.layer_start.eq(self.start & (self.layer.passes != 0)),
        ]
        return m
