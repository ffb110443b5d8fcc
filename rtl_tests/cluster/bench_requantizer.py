"""Requantizer: products, shifts and clamps against integers of any size."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from plum_hw.config import SHIFTS
from plum_hw.layouts import LOW_BITS, Select
from rtl_tests.cluster.blocks import BlockBench


def signed(value: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


def clamped(t: int, shift: int, out_bits: int, act_bits: int) -> int:
    if out_bits == LOW_BITS:
        return (t >> SHIFTS[shift]) % (1 << act_bits)
    return min(max(t >> SHIFTS[shift], 0), (1 << out_bits) - 1)


def extreme(rng: random.Random, bits: int) -> int:
    """A signed number: often at a limit, zero or small."""
    half = 1 << (bits - 1)
    small = rng.randrange(-(1 << rng.randrange(bits)), 1 << rng.randrange(bits))
    return rng.choice([-half, half - 1, 0, 1, -1, small, small, rng.randrange(-half, half)])


class Placer:
    """What scatter entries write: the outputs below their counts, or every second one of the group
    that was held and of this one.
    """

    def __init__(self) -> None:
        self._held: list[int] = []

    def place(self, y: list[int], select: int, count: int) -> list[int] | None:
        """The lanes that one more entry writes; None if it only holds them."""
        kept = [value if lane < count else 0 for lane, value in enumerate(y)]
        if select == Select.HOLD:
            self._held = kept
            return None
        return kept if select == Select.STRAIGHT else (self._held + kept)[select == Select.ODD :: 2]


class Outputs:
    """Notes what comes out, with its cycle."""

    def __init__(self, bench: BlockBench) -> None:
        self._bench = bench
        self.y: list[tuple[int, list[int]]] = []
        bench.parts.append(self)

    def drive(self) -> None:
        pass

    def sample(self) -> None:
        if self._bench.get("y_valid"):
            self.y.append((self._bench.cycles, self._bench.get("y")))


Terms = list[tuple[list[int], int]]  # operands and factor of each step


def random_terms(bench: BlockBench, count: int) -> Terms:
    rng, config = bench.rng, bench.config
    return [
        (
            [extreme(rng, config.sum_bits) for _ in range(config.group_lanes)],
            extreme(rng, config.scale_bits),
        )
        for _ in range(count)
    ]


def expected_output(bench: BlockBench, terms: Terms, values: dict[str, Any]) -> list[int]:
    """Output of these terms, before it is put in place; of a reduction the one of lane 0."""
    config = bench.config
    lanes = [sum(factor * operand[lane] for operand, factor in terms) for lane in range(8)]
    if values["reduce"]:
        lanes = [sum(lanes), *[0] * 7]
    totals = [signed(lane + values["bias"], config.bias_bits) for lane in lanes]
    if values["wide"]:
        word = totals[0] % (1 << 32)
        return [word >> config.act_bits * lane & (1 << config.act_bits) - 1 for lane in range(8)]
    shift, out_bits = values["shift"], values["out_bits"]
    return [clamped(total, shift, out_bits, config.act_bits) for total in totals]


async def requantize(
    bench: BlockBench, outputs: Outputs, items: list[Terms], values: dict[str, Any]
) -> None:
    """Outputs with one bias, each from its terms, compared in bits and cycles."""
    outputs.y.clear()
    bench.set(**values)
    expected = []
    placer = Placer()
    for number, terms in enumerate(items):
        select, count = bench.rng.choice(list(Select)), bench.rng.randint(0, 8)
        if number == 0:
            select = Select.HOLD
        # One part after the other, or one sum of all pairs of lanes.
        steps = [
            (*term, part, term is terms[0], term is terms[-1])
            for part in range(bench.config.group_parts)
            for term in terms
        ]
        if values["reduce"]:
            # Only the first lane's output counts, or with `wide` all bits.
            select, count = Select.STRAIGHT, 8 if values["wide"] else 1
            all_pairs = [
                (*term, pair) for term in terms for pair in range(bench.config.reduce_steps)
            ]
            ends = (0, len(all_pairs) - 1)
            steps = [
                (*step, *[number == end for end in ends]) for number, step in enumerate(all_pairs)
            ]
        for operand, factor, part, first, last in steps:
            bench.set(step=1, first=first, last=last, part=part)
            if bench.config.drain_lanes == 1:
                operand = [operand[part]]
            bench.set(operand=operand, factor=factor, select=select, count=count)
            await bench.cycle()
        due = bench.cycles - 1 + bench.block.LATENCY
        y = placer.place(expected_output(bench, terms, values), select, count)
        if y is not None:
            expected.append((due, y))
        bench.set(step=0, first=1, last=1)
        while bench.chance(bench.gap):
            await bench.cycle()
        if values["reduce"]:
            await bench.settle(3 if bench.config.slow_clock else 2)
    if bench.fault:
        expected[0] = (expected[0][0] + 1, expected[0][1])
    await bench.settle(bench.block.LATENCY + 1)
    got = outputs.y
    if values["wide"]:
        # No one reads the lanes, or bits of a lane, after the first 32 bits.
        bits, rest = divmod(32, bench.config.act_bits)
        got = [
            (cycle, [*y[:bits], *[value % (1 << rest) for value in y[bits : bits + 1]]])
            for cycle, y in got
        ]
        expected = [(cycle, y[: len(got[0][1])]) for cycle, y in expected]
    assert got == expected, f"{values}: {got}, expected {expected}"


async def prepare(dut, gap: float) -> tuple[BlockBench, Outputs]:
    bench = BlockBench(dut, "requantizer", gap)
    outputs = Outputs(bench)
    bench.set(step=0, first=0, last=0, reduce=0, wide=0, part=0, shift=0, out_bits=1)
    await bench.reset()
    await bench.cycle()
    return bench, outputs


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5], reduce=[0, 1], wide=[0, 1])
async def every_shift_and_width(dut, gap: float, reduce: int, wide: int) -> None:
    bench, outputs = await prepare(dut, gap)
    for shift in range(len(SHIFTS)):
        for out_bits in (*range(1, bench.config.act_bits + 1), LOW_BITS):
            bias = extreme(bench.rng, bench.config.bias_bits)
            values = {"bias": bias, "shift": shift, "out_bits": out_bits}
            values |= {"reduce": reduce, "wide": reduce & wide}
            counts = [bench.rng.randint(1, 24), 1] if reduce else [1, 3, 1, 2, 3]
            items = [random_terms(bench, count) for count in counts]
            await requantize(bench, outputs, items, values)


@cocotb.test()
async def rounding_and_clamping(dut) -> None:
    """The last value that rounds down, the first that rounds up, and both sides of both clamps."""
    bench, outputs = await prepare(dut, 0.0)
    config = bench.config
    for number, shift in enumerate(SHIFTS):
        for out_bits in (1, config.act_bits):
            values = {"bias": 1 << (shift - 1), "shift": number, "out_bits": out_bits}
            values |= {"reduce": 0, "wide": 0}
            # Twice this operand and factor make steps of half of one unit of the output.
            factor = 1 << min(shift - 1, config.scale_bits - 2)
            unit = 1 << (shift - 1 - (factor.bit_length() - 1))
            top = 2 << out_bits
            places = [-2, -1, 0, 1, 2, top - 3, top - 2, top - 1, top, top + 1]
            operands = [place * unit + by for place in places for by in (-1, 0)]
            limit = (1 << (config.sum_bits - 1)) - 1
            operands = [min(operand, limit) for operand in operands] + [limit] * 4
            lanes = config.group_lanes
            items = [
                [(operands[first : first + lanes], factor)]
                for first in range(0, len(operands), lanes)
            ]
            await requantize(bench, outputs, items, values)


@cocotb.test()
async def a_step_a_cycle(dut) -> None:
    bench, outputs = await prepare(dut, 0.0)
    values = {"bias": 1 << 15, "shift": 1, "out_bits": bench.config.act_bits}
    values |= {"reduce": 0, "wide": 0}
    begin = bench.cycles
    await requantize(bench, outputs, [random_terms(bench, 1) for _ in range(200)], values)
    took = outputs.y[-1][0] - begin - bench.block.LATENCY
    assert took < 200 * bench.config.group_parts
    assert len(outputs.y) > 100
