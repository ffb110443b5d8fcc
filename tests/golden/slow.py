"""A device as docs/architecture.md states it, cycle by cycle in plain Python: slow, and without a
line of the machine's or of the cycle model's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_hw import timing
from plum_hw.config import SHIFTS, ArrayConfig
from plum_hw.layouts import (
    LOW_BITS,
    DrainOp,
    Select,
    Start,
    layer_layout,
    requant_layout,
    scatter_layout,
    segment_layout,
)

WINDOW = -1  #: number of the window pass


def wrapped(value: int, bits: int) -> int:
    """Two's complement of so many bits."""
    value &= (1 << bits) - 1
    return value - (value >> (bits - 1) << bits)


@dataclass
class Beat:
    """What one beat does. *Members*: ``vector`` that is added, or None; ``load``: it replaces the
    accumulator; ``drain``, the segment that it ends, with the ``bank`` of its sums; ``emission``
    that it begins.
    """

    vector: int | None
    start: int
    load: bool = False
    drain: dict[str, int] | None = None
    bank: int = 0
    emission: dict[str, int] | None = None


@dataclass
class SlowCluster:
    """One cluster during one layer. *Members*: ``writes``: (cycle, dest, grouped, vector, lane,
    value); ``results``: (address, value).
    """

    config: ArrayConfig
    number: int
    code: list[int]
    table: list[int]
    activation: NDArray[np.uint8]
    address: int
    beats: int = 0
    drain_stalls: int = 0
    emit_stalls: int = 0
    span: int = 0
    writes: list[tuple[int, ...]] = field(default_factory=list)
    results: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = self.config
        layout = layer_layout(config)
        self.layer = layout.unpack([self.word(self.address + i) for i in range(layout.words)])
        self.waiting = self.program() if self.layer["passes"] else iter(())
        self.beat = next(self.waiting, None)
        self.acc = [0] * config.lanes
        self.sums = [[0] * config.lanes for _ in range(4)]
        self.effects: list[tuple[int, list[int], dict[str, int], int]] = []
        self.jobs: list[dict[str, int]] = []  # unfinished emissions
        self.running: dict[str, Any] | None = None
        self.held: list[int] = []
        self.last_drain = self.last_finish = -1000
        self.read_until = [-1000] * 4

    def word(self, address: int) -> int:
        """A word of code memory."""
        return int(self.code[address % len(self.code)])

    # ---- the walk --------------------------------------------------------------------------------

    def program(self) -> Iterator[Beat]:
        """All beats of the layer, in their order."""
        layer = self.layer
        layout = segment_layout(self.config)
        self.passes = layer["passes"] - (layer["window_segments"] > 0)
        count = layer["window_segments"] + layer["segments"]
        segments = [layout.unpack([self.word(layer["segment_ptr"] + i)]) for i in range(count)]
        windows, segments = segments[: -layer["segments"]], segments[-layer["segments"] :]
        for vector in range(layer["vectors"]):
            pointer = layer["weight_ptr"]
            if windows:
                yield from self.walk(vector, WINDOW, windows, pointer)
                if not layer["shared_masks"]:
                    pointer += sum(item["words"] for item in windows)
            for number in range(self.passes):
                yield from self.walk(vector, number, segments, pointer)
                if not layer["shared_masks"]:
                    pointer += sum(item["words"] for item in segments)

    def walk(
        self, vector: int, number: int, segments: list[dict[str, int]], pointer: int
    ) -> Iterator[Beat]:
        """The beats of one pass."""
        config, layer = self.config, self.layer
        window = layer["in_base"] + vector * layer["in_step"]
        if number != WINDOW and layer["filter_step"]:
            window += number
        for segment in segments:
            bank, residual_bank, window_bank = self.banks(vector, number, segment["bank"])
            first = True
            for index in range(segment["words"]):
                word = self.word(pointer)
                pointer += 1
                last_word = index == segment["words"] - 1
                if segment["residual"]:
                    address = layer["res_base"] + vector * layer["res_step"] + word
                    address += number if layer["filter_step"] else 0
                    places: list[int | None] = [address]
                    bank = residual_bank
                else:
                    base = window + segment["offset"] + index * config.mask_bits
                    places = [base + i for i in range(config.mask_bits) if word >> i & 1] or [None]
                for position, place in enumerate(places):
                    beat = Beat(
                        None if place is None else place % (1 << config.act_addr_bits),
                        segment["start"] if first else Start.KEEP,
                        bool(segment["residual"]),
                    )
                    first = False
                    if last_word and position == len(places) - 1 and segment["drain"]:
                        beat.drain, beat.bank = segment, bank
                        if segment["emit"] and not self.missing(number, segment["bank"]):
                            beat.emission = {
                                "vector": vector,
                                "filter": 2 * number + segment["bank"] if layer["pair"] else number,
                                "bank": bank,
                                "window": window_bank,
                                "residual": residual_bank,
                            }
                    yield beat

    def missing(self, number: int, bank: int) -> bool:
        """Whether the odd pass lacks this filter."""
        layer = self.layer
        last = number == self.passes - 1
        return bool(layer["pair"] and layer["odd"] and last and bank == 0)

    def banks(self, vector: int, number: int, bank: int) -> tuple[int, int, int]:
        """Banks of a filter (or window sum), its residual and its window sum."""
        layer = self.layer
        has_window, has_residual = layer["window_segments"] > 0, layer["residual"]
        window = 2 if has_residual else 2 + vector % 2
        if number == WINDOW:
            return window, window, window
        turn = (vector * self.passes + number) % 2
        if not layer["pair"]:
            mine = turn
        elif has_window or has_residual:
            mine = turn ^ bank
        else:
            mine = 2 * turn + bank
        return mine, 3 if has_window else 2 + mine, window

    @property
    def drain_cycles(self) -> int:
        """From one drain to the next."""
        config = self.config
        if config.drain_lanes == 1:
            return config.lanes
        return max(config.groups, 1 + config.block_sums)

    # ---- one cycle -------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Nothing is left to do."""
        return self.beat is None and not self.jobs

    def tick(self, time: int) -> None:
        """Everything that happens in a cycle."""
        for effect in [item for item in self.effects if item[0] == time]:
            self.drain(*effect[1:])
            self.effects.remove(effect)
        if not self.done:
            self.span = time + 1
        self.emit(time)
        self.issue(time)

    def issue(self, time: int) -> None:
        """The decoder and the lanes."""
        beat = self.beat
        if beat is None:
            return
        if beat.drain is not None:
            if time < self.last_drain + self.drain_cycles:
                self.drain_stalls += 1
                return
            if beat.drain["op"] == DrainOp.SET:
                read = any(beat.bank in self.read_by(job) for job in self.jobs)
                if read or time < self.read_until[beat.bank] + timing.BANK_FREE:
                    self.emit_stalls += 1
                    return
            if beat.emission is not None and (
                len(self.jobs) == 2
                or (len(self.jobs) == 1 and time < self.last_finish + timing.BANK_FREE)
            ):
                self.emit_stalls += 1
                return
        self.beats += 1
        for lane in range(self.config.lanes):
            x = 0 if beat.vector is None else int(self.activation[beat.vector, lane])
            old = {Start.CLEAR: 0, Start.DOUBLE: 2 * self.acc[lane], Start.KEEP: self.acc[lane]}
            acc = x if beat.load else old[Start(beat.start)] + x
            self.acc[lane] = acc % (1 << self.config.acc_bits)
        if beat.drain is not None:
            self.last_drain = time
            when = time + timing.BEAT_TO_DRAIN(self.config)
            self.effects.append((when, list(self.acc), beat.drain, beat.bank))
        if beat.emission is not None:
            ready = time + timing.EMIT_LATENCY(self.config)
            self.jobs.append({**beat.emission, "ready": ready})
        self.beat = next(self.waiting, None)

    def drain(self, snapshot: list[int], segment: dict[str, int], bank: int) -> None:
        """The sums of a bank take a snapshot."""
        config = self.config
        strips = [
            bin(self.layer["left_edge"] & ((2 << group) - 1)).count("1")
            for group in range(config.groups)
        ]
        for lane in range(config.lanes):
            source = lane + segment["shift"]
            value = 0
            if 0 <= source < config.lanes and strips[source // 8] == strips[lane // 8]:
                value = -snapshot[source] if segment["negate"] else snapshot[source]
            old = self.sums[bank][lane]
            new = {
                DrainOp.SET: value,
                DrainOp.ADD: old + value,
                DrainOp.NIBBLE: 16 * old + value,
                DrainOp.MAX: max(old, value),
            }[DrainOp(segment["op"])]
            self.sums[bank][lane] = wrapped(new, config.sum_bits)

    # ---- emissions -------------------------------------------------------------------------------

    def read_by(self, job: dict[str, int]) -> list[int]:
        """Banks that an emission reads."""
        banks = [job["bank"]]
        banks += [job["window"]] if self.layer["window_segments"] else []
        return banks + ([job["residual"]] if self.layer["residual"] else [])

    def entries(self, vector: int) -> list[dict[str, int]]:
        """The scatter list of a vector."""
        layout, pointer = scatter_layout(self.config), self.layer["scatter_ptr"]
        while True:
            found: list[dict[str, int]] = []
            while not found or not found[-1]["last"]:
                found.append(layout.unpack([int(self.table[pointer % len(self.table)])]))
                pointer += 1
            if vector == 0:
                return found
            vector -= 1

    def slot(self, time: int, group: int) -> bool:
        """Whether this cluster may send on the bus of a group."""
        clusters, buses = self.config.clusters, self.config.write_buses
        shifted = time + timing.SLOT_ZERO(self.config) - self.number
        return (shifted - self.config.bus_of(group) * clusters // buses) % clusters == 0

    def emit(self, time: int) -> None:
        """The emitter."""
        layer = self.layer
        if self.running is None:
            if not self.jobs:
                return
            job = self.jobs[0]
            start = max(job["ready"], self.last_finish + timing.NEXT_EMISSION)
            if time < start:
                return
            wide = layer["reduce"] and layer["wide"]
            entries = [] if wide else self.entries(job["vector"])
            self.running = {"job": job, "first": start + timing.FIRST_STEP, "entries": entries}
            self.running |= {"part": 0, "term": 0, "finish": None}
        run = self.running
        if time < run["first"]:
            return
        if layer["reduce"]:
            target = 0 if layer["wide"] else run["entries"][0]["target"]
            if run["finish"] is None and self.slot(time, target):
                terms = 1 + (layer["window_segments"] > 0) + layer["residual"]
                run["finish"] = time + timing.REDUCE_CYCLES(self.config, terms)
                self.reduce(time, run)
            elif run["finish"] == time:
                self.finished(time)
            return
        entry = run["entries"][0]
        if run["part"] == run["term"] == 0:
            if entry["select"] != Select.HOLD and not self.slot(time, entry["target"]):
                return
            run["total"] = [self.constants(run)["bias"]] * 8
        self.term(run, entry)
        if run["term"] == len(self.read_by(run["job"])):
            run["term"] = 0
            run["part"] += 1
        if run["part"] * self.config.requant_lanes == 8:
            self.write(time, run, entry, run["total"])
            run["part"] = 0
            run["entries"].pop(0)
            if not run["entries"]:
                self.finished(time)

    def finished(self, time: int) -> None:
        """An emission is over."""
        for bank in self.read_by(self.jobs[0]):
            self.read_until[bank] = time
        self.last_finish = time
        self.jobs.pop(0)
        self.running = None

    def constants(self, run: dict[str, Any]) -> dict[str, int]:
        """Constants of the filter."""
        layout = requant_layout(self.config)
        first = self.layer["table_ptr"] + layout.words * run["job"]["filter"]
        return layout.unpack(
            [int(self.table[(first + i) % len(self.table)]) for i in range(layout.words)]
        )

    def term(self, run: dict[str, Any], entry: dict[str, int]) -> None:
        """One product for each lane of a group."""
        names = ["scale"]
        names += ["window"] if self.layer["window_segments"] else []
        names += ["residual"] if self.layer["residual"] else []
        factor = self.constants(run)[names[run["term"]]]
        bank = self.read_by(run["job"])[run["term"]]
        parts = 8 // self.config.requant_lanes
        for i in range(run["part"], 8, parts):
            run["total"][i] += factor * self.sums[bank][8 * entry["source"] + i]
        run["term"] += 1

    def output(self, total: int) -> int:
        """An activation."""
        shifted = wrapped(total, self.config.bias_bits) >> SHIFTS[self.layer["shift"]]
        y = shifted  # its low bits, where `out_bits` is LOW_BITS
        if self.layer["out_bits"] != LOW_BITS:
            y = min(max(shifted, 0), (1 << self.layer["out_bits"]) - 1)
        return y & ((1 << self.config.act_bits) - 1)

    def write(
        self, time: int, run: dict[str, Any], entry: dict[str, int], totals: list[int]
    ) -> None:
        """What an entry writes."""
        address = self.layer["out_base"] + entry["offset"] + self.constants(run)["channel"]
        address %= 1 << self.config.act_addr_bits
        values = [
            self.output(total) if lane < entry["count"] else 0 for lane, total in enumerate(totals)
        ]
        select = Select(entry["select"])
        if select == Select.HOLD:
            self.held = values
            return
        if select != Select.STRAIGHT:
            values = (self.held + values)[select == Select.ODD :: 2]
        for lane, value in enumerate(values):
            place = (address, 8 * entry["target"] + lane)
            dest = entry["dest"] + self.constants(run)["dest"]
            dest %= 1 << self.config.cluster_bits
            self.writes.append((time, dest, entry["grouped"], *place, value))

    def reduce(self, time: int, run: dict[str, Any]) -> None:
        """A dense layer's output."""
        constants = self.constants(run)
        total = constants["bias"]
        names = ["scale"] + (["window"] if self.layer["window_segments"] else [])
        names += ["residual"] if self.layer["residual"] else []
        for name, bank in zip(names, self.read_by(run["job"]), strict=True):
            total += constants[name] * sum(self.sums[bank])
        if self.layer["wide"]:
            address = self.layer["out_base"] + constants["channel"]
            value = wrapped(total, self.config.bias_bits) & 0xFFFFFFFF
            self.results.append((address, value))
        else:
            entry = {**run["entries"][0], "count": 1}
            self.write(time, run, entry, [total] + [0] * 7)


def run_layer(
    config: ArrayConfig,
    code: NDArray[np.uint32],
    table: NDArray[np.uint32],
    activation: NDArray[np.uint8],
    results: dict[int, int],
    address: int,
) -> dict[str, int]:
    """Run one layer on memories [clusters, ...]; changes ``activation`` and ``results``, and
    returns the counters.
    """
    clusters = [
        SlowCluster(
            config,
            number,
            code[number].tolist(),
            table[number].tolist(),
            activation[number],
            address,
        )
        for number in range(config.clusters)
    ]
    time = 0
    while not all(cluster.done for cluster in clusters):
        for cluster in clusters:
            cluster.tick(time)
        time += 1
        assert time < 1_000_000
    for _, dest, grouped, vector, lane, value in sorted(
        item for cluster in clusters for item in cluster.writes
    ):
        for receiver in clusters:
            if dest == (receiver.layer["group"] if grouped else receiver.number):
                activation[receiver.number, vector, lane] = value
    for cluster in clusters:
        results.update(cluster.results)
    frame = timing.LOAD(config) + timing.SETTLE(config)
    return {
        "cycles": frame + max(cluster.span for cluster in clusters),
        "beats": sum(cluster.beats for cluster in clusters),
        "drain_stalls": sum(cluster.drain_stalls for cluster in clusters),
        "emit_stalls": sum(cluster.emit_stalls for cluster in clusters),
    }
