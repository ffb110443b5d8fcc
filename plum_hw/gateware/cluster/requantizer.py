"""The requantizer: products of sums and constants, added up, shifted, clamped and put in place."""

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import SHIFTS, ArrayConfig
from plum_hw.gateware.cluster.mux_tree import mux_tree
from plum_hw.layouts import LOW_BITS, WORD_BITS, Select


class Requantizer(wiring.Component):
    """One multiplier and accumulator for each lane of a group, used once for each term.

    A step (an operand and the factor of all lanes) a cycle. The steps of one output follow each
    other, marked by `first` and `last`; `y` is there `LATENCY` cycles after the last step. In a
    reduction lane 0 does all: it takes the sum of lanes `pair` and `pair` + 4.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    step, first, last : an operand is given; it begins, ends the terms of an output
    operand : one for each lane
    pair : two lanes of a reduction; else 0
    factor : for all lanes
    bias : constant from the first step to a cycle after it
    select, count : which lanes it is for, as in a scatter entry; with the last step
    shift, out_bits, reduce, wide : of the layer
    y : clamped outputs; with `wide` the low 32 bits of the total; none for `Select.HOLD`
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        #: Further stages of the products.
        self._more = 2 if config.lut_inputs == 4 else 0
        self.LATENCY = 7 + self._more
        super().__init__(
            {
                "step": In(1),
                "first": In(1),
                "last": In(1),
                "operand": In(data.ArrayLayout(signed(config.sum_bits), config.group_lanes)),
                "pair": In(range(config.group_lanes // 2)),
                "factor": In(signed(config.scale_bits)),
                "bias": In(signed(config.bias_bits)),
                "select": In(Select),
                "count": In(range(config.group_lanes + 1)),
                "shift": In(range(len(SHIFTS))),
                "out_bits": In(4),
                "reduce": In(1),
                "wide": In(1),
                "y_valid": Out(1),
                "y": Out(data.ArrayLayout(unsigned(config.act_bits), config.group_lanes)),
            }
        )

    @staticmethod
    def model(t: int, shift: int, out_bits: int) -> int:
        """Output for the accumulated t (rounding in the bias): t >> SHIFTS[shift], clamped, or with
        `LOW_BITS` all its bits, of which `y` has the lowest.
        """
        if out_bits == LOW_BITS:
            return t >> SHIFTS[shift]
        return min(max(t >> SHIFTS[shift], 0), (1 << out_bits) - 1)

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        place = data.StructLayout({"select": Select, "count": self.count.shape()})
        flags = data.StructLayout({"step": 1, "first": 1, "last": 1, "place": place})
        stages = [Signal(flags, name=f"flags_{number}") for number in range(6 + self._more)]
        m.d.sync += [
            stages[0].step.eq(self.step),
            stages[0].first.eq(self.first),
            stages[0].last.eq(self.step & self.last),
            stages[0].place.select.eq(self.select),
            stages[0].place.count.eq(self.count),
        ]
        m.d.sync += [new.eq(old) for old, new in pairwise(stages)]

        stages = stages[self._more :]
        totals = self._totals(m, stages[1])
        low, zero = self._clamped(m, totals, stages[3].place.count)

        # Every lane, or every second one of the group that is held and of this one; or the word of
        # a `wide` total, where all lanes are zero.
        select = stages[5].place.select
        held = [
            Signal(config.act_bits, name=f"held_{lane}", reset_less=True)
            for lane in range(config.group_lanes)
        ]
        with m.If(stages[5].last & (select == Select.HOLD)):
            for lane, kept in enumerate(held):
                m.d.sync += kept.eq(low[lane])
                with m.If(zero[lane]):
                    m.d.sync += kept.eq(0)
        lanes = list(zip([*held, *low], [*[Const(0)] * len(held), *zero], strict=True))
        word = Signal(WORD_BITS, reset_less=True)
        m.d.sync += word.eq(totals[0])
        with m.If(~self.wide):
            m.d.sync += word.eq(0)
        for lane in range(config.group_lanes):
            sources = [
                lanes[place] for place in (config.group_lanes + lane, 2 * lane, 2 * lane + 1)
            ]
            y = Signal(config.act_bits, name=f"y_{lane}", reset_less=True)
            part = word[lane * len(y) :][: len(y)]
            m.d.sync += y.eq(mux_tree(select, [value for value, _ in sources]) | part)
            with m.If(mux_tree(select, [zero for _, zero in sources])):
                m.d.sync += y.eq(0)
            m.d.comb += self.y[lane].eq(y)
        m.d.sync += self.y_valid.eq(stages[5].last & (select != Select.HOLD))
        return m

    def _totals(self, m: Module, flags: data.View) -> list[Signal]:
        """Products and their sums, in the registers of a DSP block. `flags` : of the product."""
        config = self._config
        half = config.group_lanes // 2
        factor = Signal(signed(config.scale_bits), reset_less=True)
        m.d.sync += factor.eq(self.factor)
        bias: Value = self.bias
        for _ in range(1 + self._more):
            bias, late = Signal.like(self.bias, reset_less=True), bias
            m.d.sync += bias.eq(late)
        totals = []
        for lane in range(config.group_lanes):
            operand = Signal(signed(config.sum_bits), name=f"operand_{lane}", reset_less=True)
            total = Signal(signed(config.bias_bits), name=f"total_{lane}", reset_less=True)
            if lane == 0:
                other = Signal(signed(config.sum_bits), reset_less=True)
                first, second = list(self.operand)[:half], list(self.operand)[half:]
                m.d.sync += operand.eq(mux_tree(self.pair, first))
                m.d.sync += other.eq(Mux(self.reduce, mux_tree(self.pair, second), 0))
                multiplicand = operand + other
            else:
                m.d.sync += operand.eq(self.operand[lane])
                multiplicand = operand
            bits = len(multiplicand) + config.scale_bits
            product = Signal(signed(bits), name=f"product_{lane}", reset_less=True)
            if self._more:
                m.d.sync += product.eq(self._product(m, lane, multiplicand, factor))
            else:
                m.d.sync += product.eq(multiplicand * factor)
            with m.If(flags.step):
                m.d.sync += total.eq(product + Mux(flags.first, bias, total))
            totals.append(total)
        return totals

    def _product(self, m: Module, lane: int, multiplicand: Value, factor: Value) -> Value:
        """The product two cycles later, of multipliers of 18 bits with registers on both sides."""
        low_bits = 17
        held = Signal(multiplicand.shape(), name=f"multiplicand_{lane}", reset_less=True)
        by = Signal(factor.shape(), name=f"by_{lane}", reset_less=True)
        m.d.sync += [held.eq(multiplicand), by.eq(factor)]
        low, high = held[:low_bits], held[low_bits:].as_signed()
        products: list[Value] = []
        for part in (low, high):
            bits = len(part) + len(factor)
            partial = Signal(signed(bits), name=f"partial_{lane}_{len(products)}", reset_less=True)
            m.d.sync += partial.eq(part * by)
            products.append(partial)
        return products[0] + (products[1] << low_bits)

    def _clamped(
        self, m: Module, totals: list[Signal], count: Signal
    ) -> tuple[list[Signal], list[Signal]]:
        """Totals three cycles later, shifted and not above the limit, and whether the output is
        zero. With `wide` all is zero, so that the outputs are free for the word.

        Flip-flops' own set and reset do what they can: they cost no LUT.
        """
        config = self._config
        excess = Signal(config.act_bits)  # bits above the largest output's
        for bit in range(config.act_bits):
            m.d.sync += excess[bit].eq(self.out_bits <= bit)
        # Clamps are resets of what says that they are needed.
        as_it_is = Signal()
        m.d.sync += as_it_is.eq((self.out_bits == LOW_BITS) | self.wide)
        tops = [shift + config.act_bits for shift in SHIFTS] + [config.bias_bits - 1]
        lows, zeros = [], []
        for lane, total in enumerate(totals):
            shifted = Signal(config.act_bits, name=f"shifted_{lane}", reset_less=True)
            above = Signal(name=f"above_{lane}", reset_less=True)
            negative = Signal(name=f"negative_{lane}", reset_less=True)
            choices = [total[shift:][: config.act_bits] for shift in SHIFTS]
            m.d.sync += [
                shifted.eq(mux_tree(self.shift, choices)),
                above.eq(
                    Cat(
                        (self.shift <= number) & total[low:high].any()
                        for number, (low, high) in enumerate(pairwise(tops))
                    ).any()
                ),
                negative.eq(total[-1]),
            ]
            with m.If(self.wide):
                m.d.sync += shifted.eq(0)
            with m.If(as_it_is):
                m.d.sync += [above.eq(0), negative.eq(0)]

            filled = Signal(config.act_bits, name=f"filled_{lane}", reset_less=True)
            zero = Signal(2, name=f"zero_{lane}", reset_less=True)
            m.d.sync += [
                filled.eq(shifted),
                zero.eq(Cat(negative | (lane >= count), zero[0])),
            ]
            with m.If(above | (shifted & excess).any()):
                m.d.sync += filled.eq(~0)
            with m.If(self.wide):
                m.d.sync += zero[0].eq(0)

            low = Signal(config.act_bits, name=f"low_{lane}", reset_less=True)
            m.d.sync += low.eq(filled)
            for bit in range(config.act_bits):
                with m.If(excess[bit]):
                    m.d.sync += low[bit].eq(0)
            lows.append(low)
            zeros.append(zero[1])
        return lows, zeros
