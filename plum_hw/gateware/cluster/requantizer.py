"""The requantizer: products of sums and constants, added up, shifted and clamped."""

from amaranth.hdl import Array, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import SHIFTS, ArrayConfig


class Requantizer(wiring.Component):
    """One multiplier for each lane of a group, used once for each term.

    A step (an operand and the factor of all lanes) a cycle. The steps of one output follow each
    other, marked by `first` and `last`; `y` is there `LATENCY` cycles after the last step. In a
    reduction the lanes' accumulators are added up afterwards, one a cycle, and `total` and `y[0]`
    are there `REDUCE_LATENCY` cycles after the last step.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    step, first, last : an operand is given; it begins, ends the terms of an output
    operand : one for each lane
    factor : for all lanes
    bias : constant from the first step to two cycles after the last
    shift, out_bits, reduce : of the layer
    y_valid, y : clamped outputs
    total_valid, total : of a reduction, before shift and clamp
    """

    LATENCY = 4

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        #: Cycles from the last step of a reduction to `y_valid` and `total_valid`.
        self.REDUCE_LATENCY = config.group_lanes + 5
        super().__init__(
            {
                "step": In(1),
                "first": In(1),
                "last": In(1),
                "operand": In(data.ArrayLayout(signed(config.sum_bits), config.group_lanes)),
                "factor": In(signed(config.scale_bits)),
                "bias": In(signed(config.bias_bits)),
                "shift": In(2),
                "out_bits": In(4),
                "reduce": In(1),
                "y_valid": Out(1),
                "y": Out(data.ArrayLayout(unsigned(config.act_bits), config.group_lanes)),
                "total_valid": Out(1),
                "total": Out(signed(config.bias_bits)),
            }
        )

    @staticmethod
    def model(t: int, shift: int, out_bits: int) -> int:
        """Output for the accumulated t (rounding in the bias): t >> SHIFTS[shift], clamped."""
        return min(max(t >> SHIFTS[shift], 0), (1 << out_bits) - 1)

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        lanes = range(config.group_lanes)
        product_bits = config.sum_bits + config.scale_bits

        # Stages of a step: operand and factor, product, accumulator.
        factor = Signal(signed(config.scale_bits))
        m.d.sync += factor.eq(self.factor)
        flags = [Signal(3, name=f"flags_{stage}") for stage in range(3)]
        m.d.sync += [
            flags[0].eq(self.step * (1 | self.first << 1 | self.last << 2)),
            flags[1].eq(flags[0]),
            flags[2].eq(flags[1]),
        ]
        start = Signal(signed(config.bias_bits))
        m.d.comb += start.eq(Mux(self.reduce, 0, self.bias))
        sums = []
        for lane in lanes:
            operand = Signal(signed(config.sum_bits), name=f"operand_{lane}")
            product = Signal(signed(product_bits), name=f"product_{lane}")
            sum_ = Signal(signed(config.bias_bits), name=f"sum_{lane}")
            m.d.sync += [operand.eq(self.operand[lane]), product.eq(operand * factor)]
            with m.If(flags[1][0]):
                m.d.sync += sum_.eq(product + Mux(flags[1][1], start, sum_))
            sums.append(sum_)

        # A reduction goes over the lanes once more.
        lane_count = Signal(range(config.group_lanes))
        adding, added = Signal(), Signal()
        m.d.sync += [added.eq(0), adding.eq(adding & (lane_count != config.group_lanes - 1))]
        with m.If(flags[2][2] & self.reduce):
            m.d.sync += [adding.eq(1), lane_count.eq(0), self.total.eq(self.bias)]
        with m.If(adding):
            m.d.sync += [
                self.total.eq(self.total + Array(sums)[lane_count]),
                lane_count.eq(lane_count + 1),
                added.eq(lane_count == config.group_lanes - 1),
            ]

        # Shift and clamp.
        limit = Signal(config.act_bits)
        with m.Switch(self.out_bits):
            for bits in range(1, config.act_bits + 1):
                with m.Case(bits):
                    m.d.comb += limit.eq((1 << bits) - 1)
        for lane in lanes:
            t = Signal(signed(config.bias_bits), name=f"t_{lane}")
            low = Signal(config.act_bits, name=f"low_{lane}")
            high = Signal(name=f"high_{lane}")
            m.d.comb += t.eq(sums[lane] if lane else Mux(self.reduce, self.total, sums[0]))
            with m.Switch(self.shift):
                for number, shift in enumerate(SHIFTS):
                    with m.Case(number):
                        m.d.comb += [
                            low.eq(t[shift:][: config.act_bits]),
                            high.eq(t[shift + config.act_bits : -1].any()),
                        ]
            m.d.sync += self.y[lane].eq(Mux(t < 0, 0, Mux(high | (low & ~limit).any(), limit, low)))
        m.d.sync += [
            self.y_valid.eq(Mux(self.reduce, added, flags[2][2])),
            self.total_valid.eq(added),
        ]
        return m
