"""Drain: sums of aligned kernel columns, in all banks, with all operations."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import cocotb
import numpy as np

from plum_hw.layouts import DrainOp
from rtl_tests.cluster.blocks import BlockBench

BANKS = 4


def aligned(acc: np.ndarray, shift: int, edges: list[int]) -> np.ndarray:
    """Lane i takes acc[i + shift]; zero beyond its strip, which begins at the edges' lanes."""
    starts = [0, *[edge for edge in edges if edge], len(acc)]
    result = np.zeros_like(acc)
    for start, end in pairwise(starts):
        for lane in range(start, end):
            if start <= lane + shift < end:
                result[lane] = acc[lane + shift]
    return result


def drained(old: np.ndarray, v: np.ndarray, op: int, bits: int) -> np.ndarray:
    new = {
        DrainOp.SET: v,
        DrainOp.ADD: old + v,
        DrainOp.NIBBLE: 16 * old + v,
        DrainOp.MAX: np.maximum(old, v),
    }[DrainOp(op)]
    half = 1 << (bits - 1)
    return (new + half) % (2 * half) - half


class Reader:
    """Reads sums in every cycle: the last group of a drain as early as it may, else any group."""

    def __init__(self, bench: BlockBench, rng: np.random.Generator) -> None:
        self._bench, self._rng = bench, rng
        self.sums = np.zeros((BANKS, bench.config.lanes), np.int64)
        self.settled = [0] * BANKS  # from this cycle on a bank may be read
        self.written = [False] * BANKS
        self.checked = 0
        self._due: list[int] | None = None
        bench.parts.append(self)

    def drive(self) -> None:
        bench, groups = self._bench, self._bench.config.groups
        # Where a word is one lane's, the lanes of a group come one after the other.
        words = bench.config.group_lanes // bench.config.drain_lanes
        fresh = [bank for bank in range(BANKS) if 0 <= bench.cycles - self.settled[bank] < words]
        bank = fresh[0] if fresh else int(self._rng.integers(BANKS))
        group = groups - 1 if fresh else int(self._rng.integers(groups))
        lane = bench.cycles - self.settled[bank] if fresh else int(self._rng.integers(words))
        bench.set(port__bank=bank, port__group=group)
        if words > 1:
            bench.set(port__lane=lane)
        self._next = None
        if self.written[bank] and bench.cycles >= self.settled[bank] + lane:
            self._next = self.sums[bank].reshape(groups, words, -1)[group, lane].tolist()

    def sample(self) -> None:
        if self._due is not None:
            got = self._bench.get("port__sums")
            want = [self._due[0] ^ self._bench.fault, *self._due[1:]]
            assert got == want, f"cycle {self._bench.cycles}: sums {got}, expected {want}"
            self.checked += 1
        self._due = self._next


async def drain(
    bench: BlockBench, jobs: list[dict[str, Any]], snapshots: np.ndarray, left_edge: int
) -> None:
    """Drain after drain, every `groups` cycles and more if the bench has gaps."""
    config = bench.config
    reader = Reader(bench, np.random.default_rng(int(os.environ["SEED"])))
    edges = [8 * group for group in range(config.groups) if left_edge >> group & 1]
    bench.set(start=0, left_edge=left_edge)
    await bench.reset()
    await bench.cycle()
    for job, snapshot in zip(jobs, snapshots, strict=True):
        v = aligned(snapshot, job["shift"], edges) * (-1 if job["negate"] else 1)
        bank = job["bank"]
        reader.sums[bank] = drained(reader.sums[bank], v, job["op"], config.sum_bits)
        reader.written[bank] = True
        reader.settled[bank] = bench.cycles + bench.block.LATENCY
        bench.set(start=1, job=job, snapshot=snapshot)
        await bench.cycle()
        # The job is there with the strobe only, and so are lanes that are taken up at once.
        bench.set(start=0, job={})
        if config.drain_lanes == 1:
            bench.set(snapshot=snapshot[::-1])
        for _ in range(config.drain_cycles - 1):
            await bench.cycle()
        while bench.chance(bench.gap):
            await bench.cycle()
    await bench.settle(4 * BANKS * config.drain_cycles + 10)
    assert reader.checked


def random_jobs(bench: BlockBench, count: int) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Jobs of all kinds and their snapshots, each bank's first one a SET.

    MAX is of activations only: what it meets in a bank are others, and none is negated.
    """
    rng, reach = bench.rng, bench.config.reach
    jobs = []
    snapshots = random_snapshots(bench, count)
    small = [False] * BANKS
    for number in range(count):
        bank = rng.randrange(BANKS) if number >= BANKS else number
        ops = [op for op in DrainOp if op != DrainOp.MAX or small[bank]]
        op = DrainOp.SET if number < BANKS else rng.choice([ops[-1], rng.choice(ops)])
        small[bank] = op == DrainOp.MAX or (op == DrainOp.SET and rng.random() < 0.7)
        if small[bank]:
            snapshots[number] >>= bench.config.acc_bits - bench.config.act_bits
            # Neighbours in size.
            snapshots[number][::3] = snapshots[number - 1][::3] % (1 << bench.config.act_bits)
        jobs.append(
            {
                "shift": rng.choice([-reach, 0, reach, rng.randint(-reach, reach)]),
                "op": op,
                "negate": 0 if small[bank] else rng.randrange(2),
                "bank": bank,
            }
        )
    return jobs, snapshots


def random_snapshots(bench: BlockBench, count: int) -> np.ndarray:
    rng = np.random.default_rng(int(os.environ["SEED"]) + 1)
    top = 1 << bench.config.acc_bits
    snapshots = rng.integers(0, top, (count, bench.config.lanes))
    snapshots[rng.random(snapshots.shape) < 0.2] = top - 1
    snapshots[rng.random(snapshots.shape) < 0.2] = 0
    return snapshots


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5], edges=["none", "all", "some"])
async def sums(dut, gap: float, edges: str) -> None:
    bench = BlockBench(dut, "drain", gap)
    every = (1 << bench.config.groups) - 1
    left_edge = {"none": 0, "all": every}.get(edges, bench.rng.getrandbits(bench.config.groups))
    jobs, snapshots = random_jobs(bench, 200)
    assert {int(job["op"]) for job in jobs} == set(DrainOp)
    await drain(bench, jobs, snapshots, left_edge)


@cocotb.test()
async def one_bank_without_a_gap(dut) -> None:
    """Each drain changes what the one before has left, at the full rate, through every shift."""
    bench = BlockBench(dut, "drain")
    reach = bench.config.reach
    jobs = [
        {"shift": shift, "op": DrainOp.ADD, "negate": negate, "bank": 1}
        for negate in (0, 1)
        for shift in range(-reach, reach + 1)
    ]
    jobs[0]["op"] = DrainOp.SET
    jobs[1]["op"] = jobs[-1]["op"] = DrainOp.NIBBLE
    await drain(bench, jobs, random_snapshots(bench, len(jobs)), 1)


@cocotb.test()
async def sums_at_their_limits(dut) -> None:
    """Added up past the largest and the smallest sum: registers wrap."""
    bench = BlockBench(dut, "drain")
    jobs = []
    for negate in (0, 1):
        jobs += [{"shift": 0, "op": DrainOp.SET, "negate": negate, "bank": 0}]
        jobs += [{"shift": 0, "op": DrainOp.NIBBLE, "negate": negate, "bank": 0}] * 3
        jobs += [{"shift": 0, "op": DrainOp.ADD, "negate": negate, "bank": 0}] * 20
    top = (1 << bench.config.acc_bits) - 1
    await drain(bench, jobs, np.full((len(jobs), bench.config.lanes), top), 1)
