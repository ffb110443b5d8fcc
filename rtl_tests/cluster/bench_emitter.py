"""Emitter: constants, scatter lists, requantization, entries on the buses, with their cycles."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import cocotb

from plum_hw.config import SHIFTS, ArrayConfig
from plum_hw.gateware.cluster.jobs import SIDE_BANK
from plum_hw.layouts import LOW_BITS, Select, layer_layout, requant_layout, scatter_layout
from rtl_tests.cluster.bench_requantizer import Placer, clamped, signed
from rtl_tests.cluster.blocks import BlockBench, ReadOnlyMemory

#: What the emitter sends: cycle and bus, then the entry.
Sent = tuple[int, int, dict[str, Any]]


@dataclass
class Emission:
    """What one emission reads, and when, once it has been given."""

    constants: dict[str, int]
    entries: list[dict[str, int]]
    job: dict[str, int]
    sums: dict[int, list[int]]  # by bank
    start: int = 0
    finish: int = 0


def terms_of(layer: dict[str, int]) -> int:
    return 1 + (layer["window_segments"] != 0) + layer["residual"]


def outputs(config: ArrayConfig, layer: dict[str, int], emission: Emission) -> list[int]:
    """Total of every lane, or the one of a reduction."""
    constants, job = emission.constants, emission.job
    factors = {job["bank"]: constants["scale"]}
    if layer["window_segments"]:
        factors[SIDE_BANK + job["window_bank"]] = constants["window"]
    if layer["residual"]:
        factors[SIDE_BANK + job["residual_bank"]] = constants["residual"]
    products = [
        sum(factor * emission.sums[bank][lane] for bank, factor in factors.items())
        for lane in range(config.lanes)
    ]
    if layer["reduce"]:
        products = [sum(products)]
    return [signed(product + constants["bias"], config.bias_bits) for product in products]


class Model:
    """When an emission starts, takes its steps and finishes, and what it sends, as documented.

    zero : cycle of the layer's start
    """

    def __init__(self, bench: BlockBench, layer: dict[str, int], zero: int) -> None:
        self._block, self._config = bench.block, bench.config
        self._layer, self._zero = layer, zero
        self._finish = zero - 1
        self._placer = Placer()
        self._number = bench.config.clusters - 1  # of the cluster

    def slot(self, time: int, bus: int) -> int:
        """First cycle from `time` on in which the bus is free."""
        clusters = self._config.clusters
        free = self._zero + self._number + bus * clusters // self._config.write_buses
        while (time - free) % clusters:
            time += 1
        return time

    def give(self, emission: Emission, time: int) -> list[Sent]:
        """Sets when it starts and finishes; what it sends."""
        block, config, layer = self._block, self._config, self._layer
        start = max(time + block.QUEUE_LATENCY, self._finish + block.NEXT_EMISSION)
        emission.start = start
        totals = outputs(config, layer, emission)
        shift, out_bits = layer["shift"], layer["out_bits"]
        y = [clamped(total, shift, out_bits, config.act_bits) for total in totals]
        y += [0] * (config.group_lanes - len(y))
        out_base = layer["out_base"] + emission.constants["channel"]
        steps = terms_of(layer) * config.group_lanes // config.requant_lanes
        if layer["reduce"]:
            lanes_a_step = 2 if config.drain_lanes > 1 else 1
            steps = terms_of(layer) * config.lanes // lanes_a_step
        wide = layer["reduce"] and layer["wide"]
        sent = []
        step = start + block.FIRST_STEP
        for entry in emission.entries:
            bus = 0 if wide else config.bus_of(entry["target"])
            if entry["select"] != Select.HOLD:
                step = self.slot(step, bus)
            step += steps
            self._finish = emission.finish = step - 1
            record: dict[str, Any] = {"result": int(wide)}
            if wide:
                record |= {"address": out_base % (1 << 12), "word": totals[0] % (1 << 32)}
            else:
                source = config.group_lanes * entry["source"] if not layer["reduce"] else 0
                group = y[source:][: config.group_lanes]
                lanes = self._placer.place(group, entry["select"], entry["count"])
                if lanes is None:
                    continue
                record |= {
                    "address": (out_base + entry["offset"]) % (1 << config.act_addr_bits),
                    "group": entry["target"],
                    "lanes": lanes,
                    "dest": (entry["dest"] + emission.constants["dest"])
                    % (1 << config.cluster_bits),
                    "grouped": entry["grouped"],
                }
            sent.append((self._finish + block.WRITE_LATENCY, bus, record))
        return sent


class Surroundings:
    """The drain's sums, and what the emitter sends and finishes, with its cycles."""

    def __init__(self, bench: BlockBench) -> None:
        self._bench = bench
        self._rng = random.Random(1)
        self._answer: list[int] | None = None
        self.emissions: list[Emission] = []
        self.sent: list[Sent] = []
        self.finished: list[tuple[int, int]] = []
        bench.parts.append(self)

    def drive(self) -> None:
        if self._answer is not None:
            self._bench.set(sum_port__sums=self._answer)

    def sample(self) -> None:
        bench = self._bench
        config, now = bench.config, bench.cycles
        size = config.group_lanes
        # Only the emission in progress finds its sums, and only until the cycle after its finish.
        sums = [self._rng.randrange(-99, 99) for _ in range(config.lanes)]
        for emission in self.emissions:
            if emission.start + 1 < now <= emission.finish + 1:
                sums = emission.sums.get(bench.get("sum_port__bank"), sums)
        group = bench.get("sum_port__group") % config.groups
        self._answer = sums[size * group :][:size]
        if config.drain_lanes == 1:
            self._answer = [self._answer[bench.get("sum_port__lane")]]
        for number in range(config.write_buses):
            if record := self._entry(number):
                self.sent.append((now, number, record))
        if bench.get("finished"):
            self.finished.append((now, bench.get("finished_bank")))

    def _entry(self, number: int) -> dict[str, Any] | None:
        """What stands on a bus."""
        bench = self._bench
        bus = bench.get(f"bus__{number}")
        lanes = bus["data"]
        if not bus["enable"]:
            values = [value for value in (*bus.values(), *lanes) if value is not lanes]
            assert not any(values), f"cycle {bench.cycles}: bus {number} carries {bus}"
            return None
        if bus["result"]:
            word = sum(value << bench.config.act_bits * lane for lane, value in enumerate(lanes))
            return {"result": 1, "address": bus["address"], "word": word % (1 << 32)}
        return {
            "result": 0,
            "address": bus["address"] % (1 << bench.config.act_addr_bits),
            "group": bus["group"],
            "lanes": lanes,
            "dest": bus["dest"],
            "grouped": bus["grouped"],
        }


def random_layer(bench: BlockBench, **fixed: int) -> dict[str, int]:
    rng, config = bench.rng, bench.config
    layer = {
        field.name: rng.randint(field.low, field.high) for field in layer_layout(config).fields
    }
    out_bits = rng.choice([*range(1, config.act_bits + 1), LOW_BITS])
    layer.update(shift=rng.randrange(len(SHIFTS)), out_bits=out_bits, reduce=0, wide=0)
    if "window_segments" in fixed:
        fixed["window_segments"] *= rng.choice([1, 2, 512, 1023])
    return {**layer, **fixed}


def random_entry(bench: BlockBench, reduce: int) -> dict[str, int]:
    rng, config = bench.rng, bench.config
    return {
        "offset": rng.randrange(1 << config.act_addr_bits),
        "source": 0 if reduce else rng.randrange(config.groups),
        "target": rng.randrange(config.groups),
        "select": Select.STRAIGHT if reduce else rng.choice(list(Select)),
        "count": 1 if reduce else rng.randint(0, config.group_lanes),
        "dest": rng.randrange(1 << config.cluster_bits),
        "grouped": rng.randrange(2),
        "last": 0,
    }


def random_constants(bench: BlockBench, layer: dict[str, int]) -> dict[str, int]:
    """Constants with which some outputs are clamped and some are not."""
    rng = bench.rng
    constants = {}
    for field in requant_layout(bench.config).fields:
        bits = rng.randint(field.signed, field.bits - field.signed)
        constants[field.name] = rng.randint(-field.signed << bits, (1 << bits) - 1)
    if rng.random() < 0.7:
        shift = SHIFTS[layer["shift"]]
        constants["bias"] = rng.randrange(1 << shift + layer["out_bits"])
        constants["scale"] = rng.randrange(-8, 8)
    return constants


def random_emissions(
    bench: BlockBench, layer: dict[str, int], vectors: int, filters: int, table: list[int]
) -> list[Emission]:
    """Emissions of a layer in order, and their table; sums with extreme values.

    Numbers of filters are left out, as those of the filter that an odd pass does not have.
    """
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
    constants = {}
    for number in range(filters + 2):
        constants[number] = random_constants(bench, layer)
        place = store(place, requant_layout(config).pack(**constants[number]))
    layer["scatter_ptr"] = place % len(table)
    sides = layer["window_segments"] or layer["residual"]
    emissions, bank = [], rng.randrange(2)
    for vector in range(vectors):
        count = 1 if layer["reduce"] else rng.choice([1, 2, 3, rng.randint(1, 12)])
        entries = [random_entry(bench, layer["reduce"]) for _ in range(count)]
        halves = [entry for entry in entries if entry["select"] != Select.STRAIGHT]
        if halves:
            halves[0]["select"] = Select.HOLD
        entries[-1]["last"] = 1
        for entry in entries:
            place = store(place, scatter_layout(config).pack(**entry))
        numbers = sorted(rng.sample(list(constants), filters))
        for number in numbers:
            job = {
                "filter": number,
                "bank": bank,
                "window_bank": vector % 2,
                "residual_bank": 1 - vector % 2 if layer["window_segments"] else bank % 2,
                "last_filter": int(number == numbers[-1]),
            }
            banks = {SIDE_BANK: sums(), SIDE_BANK + 1: sums(), bank: sums()}
            emissions.append(Emission(constants[number], entries, job, banks))
            bank = bank ^ 1 if sides else (bank + 1) % 4
    return emissions


async def begin(bench: BlockBench, layer: dict[str, int]) -> Model:
    """Start a layer."""
    model = Model(bench, layer, bench.cycles)
    bench.set(layer=layer, layer_start=1)
    await bench.cycle()
    bench.set(layer_start=0)
    await bench.settle(bench.rng.randrange(3, 12))
    return model


async def emit(
    bench: BlockBench, around: Surroundings, layer: dict[str, int], emissions: list[Emission]
) -> None:
    """Emissions as early as they may be given (and later, with gaps): one waits while another is in
    progress. Compared in bits and cycles.
    """
    around.emissions.clear()
    around.sent.clear()
    around.finished.clear()
    model = await begin(bench, layer)
    expected: list[Sent] = []
    for number, emission in enumerate(emissions):
        while number > 1 and bench.cycles < emissions[number - 2].finish:
            await bench.cycle()
        while bench.chance(bench.gap):
            await bench.cycle()
        expected += model.give(emission, bench.cycles)
        around.emissions.append(emission)
        bench.set(start=1, job=emission.job)
        await bench.cycle()
        bench.set(start=0, job={})
    if bench.fault:
        expected[0][2]["address"] ^= 1
    await bench.settle(emissions[-1].finish - bench.cycles + bench.block.WRITE_LATENCY + 12)
    for number, (got, want) in enumerate(zip(around.sent, expected, strict=False)):
        assert got == want, f"entry {number} is {got}, expected {want}"
    assert len(around.sent) == len(expected)
    finished = [(emission.finish, emission.job["bank"]) for emission in emissions]
    assert around.finished == finished, f"finished {around.finished}, expected {finished}"


async def prepare(dut, gap: float) -> tuple[BlockBench, Surroundings, list[int]]:
    bench = BlockBench(dut, "emitter", gap)
    around = Surroundings(bench)
    table = [0] * (1 << bench.config.table_addr_bits)
    ReadOnlyMemory(
        bench, "table__address", "table__data", table, latency=1 if bench.config.slow_clock else 2
    )
    bench.set(start=0, layer_start=0, job={}, layer={}, idle=0, other=bench.rng.randrange(2))
    clusters = bench.config.clusters
    bench.set(phase=(1 - (clusters - 1)) % clusters)
    await bench.reset()
    await bench.settle(5)
    return bench, around, table


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.97], window=[0, 1], residual=[0, 1])
async def emissions(dut, gap: float, window: int, residual: int) -> None:
    bench, around, table = await prepare(dut, gap)
    for vectors, filters in ((1, 1), (3, 1), (2, 4), (8, 3)):
        layer = random_layer(bench, window_segments=window, residual=residual)
        await emit(bench, around, layer, random_emissions(bench, layer, vectors, filters, table))


@cocotb.test()
@cocotb.parametrize(wide=[0, 1], window=[0, 1], residual=[0, 1])
async def reductions(dut, wide: int, window: int, residual: int) -> None:
    bench, around, table = await prepare(dut, 0.0)
    for filters in (1, 5):
        fixed = {"reduce": 1, "wide": wide, "window_segments": window, "residual": residual}
        layer = random_layer(bench, **fixed)
        await emit(bench, around, layer, random_emissions(bench, layer, 1, filters, table))


@cocotb.test()
async def a_list_without_an_end_ends(dut) -> None:
    """With the table."""
    bench, around, _ = await prepare(dut, 0.0)
    model = await begin(bench, random_layer(bench, window_segments=0, residual=0, scatter_ptr=9))
    bench.set(start=1, job={"filter": 1})
    await bench.cycle()
    bench.set(start=0)
    entries = (1 << bench.config.table_addr_bits) - 9
    turn = bench.config.clusters * bench.config.group_parts  # at least what an entry takes
    await bench.settle(entries * turn + 40)
    assert len(around.sent) == entries
    assert len(around.finished) == 1
    # It is ready for another emission.
    assert model.slot(bench.cycles, 0) >= bench.cycles
    bench.set(start=1, job={"filter": 1})
    await bench.cycle()
    bench.set(start=0)
    await bench.settle(20 + turn)
    assert len(around.sent) > entries


@cocotb.test()
async def when_idle_the_group_is_another(dut) -> None:
    bench, _, _ = await prepare(dut, 0.0)
    late = 0 if bench.config.slow_clock else 1
    others = [bench.rng.randrange(bench.config.groups) for _ in range(50)]
    for number, other in enumerate(others):
        bench.set(idle=1, other=other)
        await bench.cycle()
        if number >= late:
            assert bench.get("sum_port__group") == others[number - late]
