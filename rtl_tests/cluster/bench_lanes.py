"""Lanes: accumulators and snapshots after random beats."""

from __future__ import annotations

import os
from typing import Any

import cocotb
import numpy as np

from plum_hw.layouts import Start
from rtl_tests.cluster.blocks import BlockBench, drain_job, emit_job


def random_beat(bench: BlockBench, idle: float) -> dict[str, Any]:
    rng = bench.rng
    beat = {
        "valid": 0,
        "null": rng.randrange(2),
        "start": rng.choice(list(Start)),
        "drain": 0,
        "drain_job": drain_job(rng),
        "emit": 0,
        "emit_job": emit_job(rng, bench.config),
    }
    if bench.chance(idle):
        return beat
    beat["valid"] = 1
    beat["null"] = int(bench.chance(0.2))
    beat["start"] = rng.choices(list(Start), [1, 2, 8])[0]
    beat["drain"] = int(bench.chance(0.3))
    beat["emit"] = int(bench.chance(0.3))
    return beat


def step(acc: np.ndarray, beat: dict[str, Any], vector: np.ndarray, bits: int) -> np.ndarray:
    """Accumulators after a beat, wrapped as registers of `bits` bits."""
    x = np.zeros_like(vector) if beat["null"] else vector
    base = {Start.CLEAR: 0, Start.DOUBLE: 2 * acc, Start.KEEP: acc}[beat["start"]]
    return (base + x) % (1 << bits)


async def play(bench: BlockBench, beats: list[dict[str, Any]], vectors: np.ndarray) -> None:
    """Give a beat a cycle, its vector a cycle later; compare everything in every cycle."""
    config, latency = bench.config, bench.block.LATENCY
    kept = config.drain_lanes > 1  # the snapshot, until the next
    idle = {"valid": 0, "emit": 0}
    bench.set(beat=idle)
    await bench.reset()
    acc = np.zeros(config.lanes, np.int64)
    snapshots: dict[int, list[int]] = {}  # by the cycle of their strobe
    snapshot = None
    beats = [*beats, *[idle] * 8]
    for cycle, beat in enumerate(beats):
        bench.set(beat=beat)
        if cycle:
            bench.set(vector=vectors[cycle - 1])
        await bench.cycle()
        if beat["valid"]:
            acc = step(acc, beat, vectors[cycle], config.acc_bits)
            if beat["drain"]:
                snapshots[cycle + latency] = (acc ^ bench.fault).tolist()

        before = beats[cycle - latency] if cycle >= latency else idle
        assert bench.get("drain") == before.get("drain", 0), f"cycle {cycle}"
        assert bench.get("emit") == before["emit"], f"cycle {cycle}"
        if before.get("drain"):
            assert bench.get("drain_job") == before["drain_job"]
        if before["emit"]:
            assert bench.get("emit_job") == before["emit_job"]
        snapshot = snapshots.get(cycle, snapshot if kept else None)
        if snapshot is not None:
            got = bench.get("snapshot")
            assert got == snapshot, f"cycle {cycle}: snapshot {got}, expected {snapshot}"
    assert snapshots or not any(beat.get("drain") for beat in beats)


def random_vectors(bench: BlockBench, count: int) -> np.ndarray:
    rng = np.random.default_rng(int(os.environ["SEED"]))
    vectors = rng.integers(0, 1 << bench.config.act_bits, (count + 8, bench.config.lanes))
    vectors[rng.random(count + 8) < 0.2] = (1 << bench.config.act_bits) - 1
    return vectors


@cocotb.test()
@cocotb.parametrize(idle=[0.0, 0.4])
async def random_beats(dut, idle: float) -> None:
    bench = BlockBench(dut, "lanes")
    beats = [random_beat(bench, idle) for _ in range(300)]
    await play(bench, beats, random_vectors(bench, len(beats)))


@cocotb.test()
async def accumulators_up_to_their_limit(dut) -> None:
    """Doubled until nearly full, then saturated vectors added beyond the limit, all drained."""
    bench = BlockBench(dut, "lanes")
    config = bench.config
    beat = {"valid": 1, "null": 0, "drain": 1, "emit": 0}
    job = drain_job(bench.rng)
    starts = [Start.CLEAR, *[Start.DOUBLE] * (config.acc_bits - config.act_bits), *[Start.KEEP] * 3]
    beats = [{**beat, "drain_job": job, "start": start} for start in starts]
    top = (1 << config.act_bits) - 1
    vectors = np.full((len(beats) + 8, config.lanes), top)
    vectors[:, ::2] = np.arange(len(vectors))[:, None] % (top + 1)
    await play(bench, beats, vectors)
