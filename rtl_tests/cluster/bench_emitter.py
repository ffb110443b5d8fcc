"""Emitter: constants, scatter lists, requantization, writes and results, with their cycles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cocotb

from plum_hw.config import SHIFTS, ArrayConfig
from plum_hw.gateware.cluster.jobs import WINDOW_BANK
from plum_hw.layouts import Select, layer_layout, requant_layout, scatter_layout
from plum_hw.timing import FIRST_STEP, emission_cycles
from rtl_tests.cluster.bench_requantizer import clamped, signed
from rtl_tests.cluster.blocks import BlockBench, ReadOnlyMemory

#: Cycles from an entry's last step to its write.
STEP_TO_WRITE = 6
#: Cycles from a reduction's last step to its result; its write is a cycle later.
STEP_TO_RESULT = 14


@dataclass
class Emission:
    """What one emission reads."""

    constants: dict[str, int]
    entries: list[dict[str, int]]
    job: dict[str, int]
    sums: list[int]
    window: list[int]
    residual: list[int]


def terms_of(layer: dict[str, int]) -> int:
    return 1 + layer["window"] + layer["residual"]


def outputs(config: ArrayConfig, layer: dict[str, int], emission: Emission) -> list[int]:
    """T of every lane, or the one of a reduction."""
    constants = emission.constants
    products = [
        constants["scale"] * emission.sums[i]
        + layer["window"] * constants["window"] * emission.window[i]
        + layer["residual"] * constants["residual"] * emission.residual[i]
        for i in range(config.lanes)
    ]
    if layer["reduce"]:
        products = [sum(products)]
    return [signed(product + constants["bias"], config.bias_bits) for product in products]


def writes(
    config: ArrayConfig, layer: dict[str, int], emission: Emission, start: int
) -> list[tuple[int, int, int, dict[int, int]]]:
    """Cycle, vector, group and lanes of each write."""
    y = [clamped(t, layer["shift"], layer["out_bits"]) for t in outputs(config, layer, emission)]
    terms, size = terms_of(layer), config.group_lanes
    expected = []
    for number, entry in enumerate(emission.entries):
        first = size * entry["source"]
        lanes = y + [0] * (size - 1) if layer["reduce"] else y[first : first + size]
        lanes = [value if lane < entry["count"] else 0 for lane, value in enumerate(lanes)]
        if entry["select"] == Select.STRAIGHT:
            written = dict(enumerate(lanes))
        else:
            half = lanes[entry["select"] == Select.ODD :: 2]
            written = {size // 2 * entry["upper"] + i: value for i, value in enumerate(half)}
        steps = config.groups if layer["reduce"] else number + 1
        due = start + FIRST_STEP + steps * terms - 1
        due += STEP_TO_RESULT + 1 if layer["reduce"] else STEP_TO_WRITE
        address = layer["out_base"] + entry["offset"] + emission.job["filter"]
        expected.append((due, address % (1 << config.act_addr_bits), entry["target"], written))
    return expected


class Surroundings:
    """The drain's sums, and what the emitter writes and pushes, with its cycles."""

    def __init__(self, bench: BlockBench) -> None:
        self._bench = bench
        lanes = bench.config.lanes
        self.sums = [[0] * lanes for _ in range(4)]
        self._answer: list[int] | None = None
        self.writes: list[tuple[int, int, int, dict[int, int]]] = []
        self.results: list[tuple[int, int]] = []
        self.overruns: list[int] = []
        self.busy = False
        bench.parts.append(self)

    def drive(self) -> None:
        if self._answer is not None:
            self._bench.set(sum_port__sums=self._answer)

    def sample(self) -> None:
        bench = self._bench
        size = bench.config.group_lanes
        group = bench.get("sum_port__group") % bench.config.groups
        self._answer = self.sums[bench.get("sum_port__bank")][size * group : size * (group + 1)]
        enable = bench.get("write__enable")
        if enable:
            data = bench.get("write__data")
            written = {lane: data[lane] for lane in range(size) if enable >> lane & 1}
            place = bench.get("write__address"), bench.get("write__group")
            self.writes.append((bench.cycles, *place, written))
        if bench.get("result_valid"):
            self.results.append((bench.cycles, bench.get("result")))
        if bench.get("overrun"):
            self.overruns.append(bench.cycles)
        self.busy = bool(bench.get("busy"))


def random_layer(bench: BlockBench, **fixed: int) -> dict[str, int]:
    rng, config = bench.rng, bench.config
    layer = {
        field.name: rng.randint(field.low, field.high) for field in layer_layout(config).fields
    }
    layer.update(
        shift=rng.randrange(len(SHIFTS)), out_bits=rng.randint(1, config.act_bits), reduce=0, wide=0
    )
    return {**layer, **fixed}


def random_entry(bench: BlockBench, reduce: int) -> dict[str, int]:
    rng, config = bench.rng, bench.config
    return {
        "offset": rng.randrange(1 << config.act_addr_bits),
        "source": 0 if reduce else rng.randrange(config.groups),
        "target": rng.randrange(config.groups),
        "select": Select.STRAIGHT if reduce else rng.choice(list(Select)),
        "upper": rng.randrange(2),
        "count": 1 if reduce else rng.randint(0, config.group_lanes),
        "last": 0,
    }


def random_constants(bench: BlockBench, layer: dict[str, int]) -> dict[str, int]:
    """Constants with which some outputs are clamped and some are not."""
    rng = bench.rng
    constants = {}
    for field in requant_layout(bench.config).fields:
        bits = rng.randint(1, field.bits - 1)
        constants[field.name] = rng.randint(-(1 << bits), (1 << bits) - 1)
    if rng.random() < 0.7:
        shift = SHIFTS[layer["shift"]]
        constants["bias"] = rng.randrange(1 << shift + layer["out_bits"])
        constants["scale"] = rng.randrange(-8, 8)
    return constants


def random_emissions(
    bench: BlockBench, layer: dict[str, int], vectors: int, filters: int, table: list[int]
) -> list[Emission]:
    """Emissions of a layer in order, and their table; sums and residuals with extreme values."""
    rng, config = bench.rng, bench.config
    low, high = -(1 << config.sum_bits - 1), (1 << config.sum_bits - 1) - 1

    def sums() -> list[int]:
        size = rng.choice([8, config.sum_bits - 1])
        values = [low, high, 0, *(rng.randrange(-(1 << size), 1 << size) for _ in range(6))]
        return rng.choices(values, k=config.lanes)

    def store(place: int, words: list[int]) -> int:
        for word in words:
            table[place % len(table)] = word
            place += 1
        return place

    place = layer["table_ptr"]
    constants = []
    for _ in range(filters):
        constants.append(random_constants(bench, layer))
        place = store(place, requant_layout(config).pack(**constants[-1]))
    layer["scatter_ptr"] = place % len(table)
    emissions, bank = [], rng.randrange(2)
    for vector in range(vectors):
        count = 1 if layer["reduce"] else rng.choice([1, 2, rng.randint(1, 12)])
        entries = [random_entry(bench, layer["reduce"]) for _ in range(count)]
        entries[-1]["last"] = 1
        for entry in entries:
            place = store(place, scatter_layout(config).pack(**entry))
        window = sums()
        for number in range(filters):
            job = {
                "filter": number,
                "bank": bank,
                "window_bank": vector % 2,
                "last_filter": int(number == filters - 1),
            }
            residual = [rng.randrange(1 << config.act_bits) for _ in range(config.lanes)]
            emissions.append(Emission(constants[number], entries, job, sums(), window, residual))
            bank ^= 1
    return emissions


async def begin(bench: BlockBench, layer: dict[str, int]) -> None:
    bench.set(layer=layer, layer_start=1)
    await bench.cycle()
    bench.set(layer_start=0)
    await bench.settle(3)


async def emit(
    bench: BlockBench, around: Surroundings, layer: dict[str, int], emissions: list[Emission]
) -> None:
    """Emissions at the least distance (and later, with gaps), compared in bits and cycles."""
    config = bench.config
    await begin(bench, layer)
    around.writes.clear()
    around.results.clear()
    expected: list[Any] = []
    results = []
    for emission in emissions:
        start = bench.cycles
        around.sums[emission.job["bank"]] = emission.sums
        around.sums[WINDOW_BANK + emission.job["window_bank"]] = emission.window
        bench.set(start=1, job=emission.job)
        await bench.cycle()
        # The emission before may have used the old residual up to its last step.
        bench.set(start=0, job={}, residual=emission.residual)
        reduce, wide = bool(layer["reduce"]), layer["reduce"] and layer["wide"]
        if wide:
            due = start + FIRST_STEP + config.groups * terms_of(layer) - 1 + STEP_TO_RESULT
            results.append((due, outputs(config, layer, emission)[0] % (1 << 32)))
        else:
            expected += writes(config, layer, emission, start)
        count = emission_cycles(
            config, entries=len(emission.entries), terms=terms_of(layer), reduce=reduce
        )
        while bench.cycles < start + count or bench.chance(bench.gap):
            await bench.cycle()
    if bench.fault and expected:
        expected[0][3][0] = expected[0][3].get(0, 0) ^ 1
    await bench.settle(12)
    for number, (got, want) in enumerate(zip(around.writes, expected, strict=False)):
        assert got == want, f"write {number} is {got}, expected {want}"
    assert len(around.writes) == len(expected)
    assert around.results == results, f"results {around.results}, expected {results}"
    assert not around.overruns
    assert not around.busy


async def prepare(dut, gap: float) -> tuple[BlockBench, Surroundings, list[int]]:
    bench = BlockBench(dut, "emitter", gap)
    around = Surroundings(bench)
    table = [0] * (1 << bench.config.table_addr_bits)
    ReadOnlyMemory(bench, "table__address", "table__data", table, latency=2)
    bench.set(start=0, layer_start=0, job={}, layer={})
    await bench.reset()
    await bench.settle(5)
    return bench, around, table


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.8], window=[0, 1], residual=[0, 1])
async def emissions(dut, gap: float, window: int, residual: int) -> None:
    bench, around, table = await prepare(dut, gap)
    for vectors, filters in ((1, 1), (3, 1), (2, 4), (4, 3)):
        layer = random_layer(bench, window=window, residual=residual)
        await emit(bench, around, layer, random_emissions(bench, layer, vectors, filters, table))


@cocotb.test()
@cocotb.parametrize(wide=[0, 1], window=[0, 1], residual=[0, 1])
async def reductions(dut, wide: int, window: int, residual: int) -> None:
    bench, around, table = await prepare(dut, 0.0)
    for filters in (1, 5):
        layer = random_layer(bench, reduce=1, wide=wide, window=window, residual=residual)
        await emit(bench, around, layer, random_emissions(bench, layer, 1, filters, table))


@cocotb.test()
@cocotb.parametrize(reduce=[0, 1], window=[0, 1], early=[0, 1])
async def overrun_when_started_too_early(dut, reduce: int, window: int, early: int) -> None:
    bench, around, table = await prepare(dut, 0.0)
    layer = random_layer(bench, reduce=reduce, wide=reduce, window=window, residual=0)
    first, second = random_emissions(bench, layer, 1, 2, table)
    await begin(bench, layer)
    start = bench.cycles
    bench.set(start=1, job=first.job)
    await bench.cycle()
    bench.set(start=0)
    count = emission_cycles(
        bench.config, entries=len(first.entries), terms=1 + window, reduce=bool(reduce)
    )
    while bench.cycles < start + count - early:
        await bench.cycle()
    bench.set(start=1, job=second.job)
    await bench.cycle()
    bench.set(start=0)
    await bench.settle(5)
    # However the two have met: when it is not busy any more, it is ready for others.
    limit = bench.cycles + 2 * len(table) * (1 + window)
    while around.busy:
        assert bench.cycles < limit
        await bench.cycle()
    assert around.overruns == [start + count - 1] * early
    around.overruns.clear()
    for _ in range(3):
        layer = random_layer(bench, window=window, residual=0)
        await emit(bench, around, layer, random_emissions(bench, layer, 2, 2, table))


@cocotb.test()
async def a_list_without_an_end_ends(dut) -> None:
    """After as many entries as the table can hold."""
    bench, around, _ = await prepare(dut, 0.0)
    await begin(bench, random_layer(bench, window=0, residual=0))
    bench.set(start=1, job={"filter": 1})
    await bench.cycle()
    bench.set(start=0)
    await bench.settle((1 << bench.config.table_addr_bits) + 40)
    assert not around.busy
