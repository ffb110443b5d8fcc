"""The requantizer: products of sums and constants, added up, shifted, clamped and put in place."""

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import SHIFTS, ArrayConfig
from plum_hw.gateware.cluster.jobs import sums_layout
from plum_hw.gateware.cluster.mux_tree import mux_tree
from plum_hw.layouts import LOW_BITS, WORD_BITS, Select


class Requantizer(wiring.Component):
    """`requant_lanes` multipliers and accumulators, used once for each part of a group and term.

    A step (operands and the factor of all lanes) a cycle. The steps of one part follow each other,
    marked by `first` and `last`; the parts of a group come in their order, and `y` is there
    `LATENCY` cycles after the last step of the last one. Multiplier i takes lane i * `group_parts`
    + p in part p. In a reduction multiplier 0 does all: it takes the sum of lanes `part` and
    `part` + 4, or lane `part` where a word of the sums is one lane's (`drain_lanes` 1).

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    step, first, last : an operand is given; it begins, ends the terms of a part
    operand : one for each lane of the group, or that of lane `part`
    part : of the group; in a reduction which two lanes
    factor : for all lanes
    bias : constant from the first step to a cycle after it, or two with a slow clock
    select, count : which lanes it is for, as in a scatter entry; with the last step of each part
    shift, out_bits, reduce, wide : of the layer
    y : clamped outputs; with `wide` the low 32 bits of the total; none for `Select.HOLD`
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        #: Further stages of the products.
        self._more = 2 if config.slow_wires else 0
        self.LATENCY = 7 + self._more
        super().__init__(
            {
                "step": In(1),
                "first": In(1),
                "last": In(1),
                "operand": In(sums_layout(config)),
                "part": In(range(max(config.group_parts, config.reduce_steps))),
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
        parts = config.group_parts
        # Of the lanes either the count, or, where there are fewer bits, which ones are above it.
        above = self.count.shape() if parts == 1 else unsigned(config.requant_lanes)
        flags = data.StructLayout(
            {"step": 1, "first": 1, "last": 1, "ends": 1, "select": Select, "above": above}
        )
        stages = [Signal(flags, name=f"flags_{number}") for number in range(6 + self._more)]
        last, ends, lanes_above = self.step & self.last, Const(1), self.count
        if parts > 1:
            ends = self.reduce | (self.part[: (parts - 1).bit_length()] == parts - 1)
            lanes_above = Cat(
                (self.part + lane * parts >= self.count) & ~(self.reduce & (lane == 0))
                for lane in range(config.requant_lanes)
            )
        m.d.sync += [
            stages[0].step.eq(self.step),
            stages[0].first.eq(self.first),
            stages[0].last.eq(last),
            stages[0].ends.eq(last & ends),
            stages[0].select.eq(self.select),
            stages[0].above.eq(lanes_above),
        ]
        m.d.sync += [new.eq(old) for old, new in pairwise(stages)]

        given, stages = stages[0].step, stages[self._more :]
        totals = self._totals(m, given, stages[1])
        low, zero = self._clamped(m, totals, stages[3].above)
        low, zero = self._gathered(m, stages[5].last, low, zero)

        # Every lane, or every second one of the group that is held and of this one; or the word of
        # a `wide` total, where all lanes are zero.
        select, ends = stages[5].select, stages[5].ends
        held = [
            Signal(config.act_bits, name=f"held_{lane}", reset_less=True)
            for lane in range(config.group_lanes)
        ]
        with m.If(ends & (select == Select.HOLD)):
            for lane, kept in enumerate(held):
                m.d.sync += kept.eq(low[lane])
                with m.If(zero[lane]):
                    m.d.sync += kept.eq(0)
        lanes = list(zip([*held, *low], [*[Const(0)] * len(held), *zero], strict=True))
        word = Signal(WORD_BITS, reset_less=True)
        choice: Value = select
        if config.slow_clock:
            # The total stays until the word is there, in place of what HOLD does not give.
            m.d.comb += word.eq(totals[0])
            choice = select | self.wide.replicate(2)
        else:
            m.d.sync += word.eq(totals[0])
            with m.If(~self.wide):
                m.d.sync += word.eq(0)
        for lane in range(config.group_lanes):
            sources = [
                lanes[place] for place in (config.group_lanes + lane, 2 * lane, 2 * lane + 1)
            ]
            y = Signal(config.act_bits, name=f"y_{lane}", reset_less=True)
            part = word[lane * len(y) :][: len(y)]
            values, zeros = ([source[place] for source in sources] for place in range(2))
            if config.slow_clock:
                m.d.sync += y.eq(mux_tree(choice, [*values, part]))
                zeros.append(Const(0))
            else:
                m.d.sync += y.eq(mux_tree(choice, values) | part)
            with m.If(mux_tree(choice, zeros)):
                m.d.sync += y.eq(0)
            m.d.comb += self.y[lane].eq(y)
        m.d.sync += self.y_valid.eq(ends & (select != Select.HOLD))
        return m

    def _gathered(
        self, m: Module, last: Value, low: list[Signal], zero: list[Signal]
    ) -> tuple[list[Value], list[Value]]:
        """All lanes of a group, and which of them are zero, from its parts. `last` : of a part.

        Each multiplier's lanes move up in registers of their own, until the last part, which needs
        none. A reduction's output is at once where it belongs, among zeros.
        """
        config = self._config
        parts = config.group_parts
        if parts == 1:
            return list(low), list(zero)
        values: list[Value] = []
        zeros: list[Value] = []
        for lane in range(config.requant_lanes):
            moving: list[Value] = [low[lane]]
            for number in range(parts - 1):
                kept = Signal(config.act_bits, name=f"kept_{lane}_{number}", reset_less=True)
                with m.If(last):
                    m.d.sync += kept.eq(moving[0])
                    if number == 0:
                        with m.If(zero[lane]):
                            m.d.sync += kept.eq(0)
                with m.If(self.reduce):
                    m.d.sync += kept.eq(0)
                moving.insert(0, kept)
            none: list[Value] = [Const(0)] * (parts - 1)
            late = zero[lane]
            if lane == 0:
                moving[0] |= Mux(self.reduce & ~zero[0], low[0], 0)
                late |= self.reduce & ~self.wide
            values += moving
            zeros += [*none, late]
        return values, zeros

    def _totals(self, m: Module, given: Value, flags: data.View) -> list[Signal]:
        """Products and their sums, in the registers of a DSP block. `given` : a factor has been, a
        cycle ago; `flags` : of the product.
        """
        config = self._config
        half = config.group_lanes // 2
        factor = Signal(signed(config.scale_bits), reset_less=True)
        m.d.sync += factor.eq(self.factor)
        bias: Value = self.bias
        # With a slow clock the constants stay as long as they are needed.
        for _ in range(0 if config.slow_clock else 1 + self._more):
            bias, late = Signal.like(self.bias, reset_less=True), bias
            m.d.sync += bias.eq(late)
        totals = []
        for lane in range(config.requant_lanes):
            operand = Signal(signed(config.sum_bits), name=f"operand_{lane}", reset_less=True)
            total = Signal(signed(config.bias_bits), name=f"total_{lane}", reset_less=True)
            if config.drain_lanes == 1:
                m.d.sync += operand.eq(self.operand[0])
                multiplicand = operand
            elif lane == 0:
                other = Signal(signed(config.sum_bits), reset_less=True)
                # One multiplier alone has lanes of both halves in turn.
                upper = self.part[-1] & ~self.reduce if config.requant_lanes == 1 else Const(0)
                first, second = list(self.operand)[:half], list(self.operand)[half:]
                m.d.sync += operand.eq(Mux(upper, 0, mux_tree(self.part, first)))
                m.d.sync += other.eq(Mux(self.reduce | upper, mux_tree(self.part, second), 0))
                multiplicand = operand + other
            else:
                lanes = list(self.operand)[lane * config.group_parts :][: config.group_parts]
                m.d.sync += operand.eq(mux_tree(self.part, lanes))
                multiplicand = operand
            bits = len(multiplicand) + config.scale_bits
            product = Signal(signed(bits), name=f"product_{lane}", reset_less=True)
            if self._more:
                m.d.sync += product.eq(self._product(m, lane, multiplicand, factor, given))
            else:
                m.d.sync += product.eq(multiplicand * factor)
            with m.If(flags.step):
                m.d.sync += total.eq(product + Mux(flags.first, bias, total))
            totals.append(total)
        return totals

    def _product(
        self, m: Module, lane: int, multiplicand: Value, factor: Value, given: Value
    ) -> Value:
        """The product two cycles later, of multipliers of 18 bits with registers on both sides."""
        low_bits = 17
        held = Signal(multiplicand.shape(), name=f"multiplicand_{lane}", reset_less=True)
        by = Signal(factor.shape(), name=f"by_{lane}", reset_less=True)
        m.d.sync += held.eq(multiplicand)
        # The multipliers lie far apart. Half of them have a register of their own, which synthesis
        # would take for the others' if it did not keep what is not meant.
        with m.If(given | (lane < self._config.requant_lanes // 2)):
            m.d.sync += by.eq(factor)
        parts = [held]
        if len(held) > low_bits + 1:
            parts = [held[:low_bits], held[low_bits:].as_signed()]
        products: list[Value] = []
        for part in parts:
            bits = len(part) + len(factor)
            partial = Signal(signed(bits), name=f"partial_{lane}_{len(products)}", reset_less=True)
            m.d.sync += partial.eq(part * by)
            products.append(partial)
        return products[0] if len(products) == 1 else products[0] + (products[1] << low_bits)

    def _clamped(
        self, m: Module, totals: list[Signal], above: Signal
    ) -> tuple[list[Signal], list[Signal]]:
        """Totals three cycles later, shifted and not above the limit, and whether the output is
        zero. With `wide` all is zero, so that the outputs are free for the word. `above` : which
        lanes are not below the count, or the count.

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
            over = Signal(name=f"over_{lane}", reset_less=True)
            negative = Signal(name=f"negative_{lane}", reset_less=True)
            choices = [total[shift:][: config.act_bits] for shift in SHIFTS]
            m.d.sync += [
                shifted.eq(mux_tree(self.shift, choices)),
                over.eq(
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
                m.d.sync += [over.eq(0), negative.eq(0)]

            no_lane = lane >= above if config.group_parts == 1 else above[lane]
            filled = Signal(config.act_bits, name=f"filled_{lane}", reset_less=True)
            zero = Signal(2, name=f"zero_{lane}", reset_less=True)
            m.d.sync += [
                filled.eq(shifted),
                zero.eq(Cat(negative | no_lane, zero[0])),
            ]
            with m.If(over | (shifted & excess).any()):
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
