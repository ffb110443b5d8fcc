"""Fetcher: mask words of segments, in order, with what goes along with them."""

from __future__ import annotations

from typing import Any

import cocotb

from plum_hw.gateware.cluster.jobs import segment_job_layout, word_layout
from plum_hw.layouts import Start
from rtl_tests.cluster.blocks import (
    BlockBench,
    Codec,
    ReadOnlyMemory,
    drain_job,
    emit_job,
    meaning,
)


def words_of(config, segment: dict[str, Any], weights: list[int]) -> list[dict[str, Any]]:
    """Words of a segment: bit i of word w is address `offset + i + mask_bits * w`."""
    words = []
    for number in range(segment["words"]):
        last = number == segment["words"] - 1
        word = {key: segment[key] for key in ("drain_job", "residual", "emit_job")}
        weight = weights[(segment["weight"] + number) % len(weights)]
        word["mask"] = 1 if segment["residual"] else weight
        address = segment["address"] + config.mask_bits * number
        word["address"] = address % (1 << config.act_addr_bits)
        word["start"] = segment["start"] if number == 0 else Start.KEEP
        word["drain"] = segment["drain"] * last
        word["emit"] = segment["emit"] * last
        words.append(word)
    return words


def random_segment(bench: BlockBench, longest: int) -> dict[str, Any]:
    rng, config = bench.rng, bench.config
    residual = bench.chance(0.15)
    return {
        "address": rng.randrange(1 << config.act_addr_bits),
        "weight": rng.randrange(1 << config.weight_addr_bits),
        "words": 1 if residual else rng.choice([1, 1, 2, 3, rng.randint(1, longest)]),
        "start": rng.choice(list(Start)),
        "drain": int(not residual and bench.chance(0.5)),
        "drain_job": drain_job(rng),
        "residual": int(residual),
        "emit": int(residual or bench.chance(0.3)),
        "emit_job": emit_job(rng),
    }


async def fetch(bench: BlockBench, longest: int):
    """Fetch random segments; the cycles in which they were offered and their words taken."""
    config = bench.config
    source, sink = bench.source("i"), bench.sink("o")
    weights = [bench.rng.getrandbits(config.mask_bits) for _ in range(1 << config.weight_addr_bits)]
    ReadOnlyMemory(bench, "address", "word", weights, latency=2)
    await bench.reset()
    segments = [random_segment(bench, longest) for _ in range(80)]
    codec = Codec(segment_job_layout(config))
    source.send(codec.pack(segment) for segment in segments)
    expected = [word for segment in segments for word in words_of(config, segment, weights)]
    if bench.fault:
        expected[7]["mask"] ^= 1
    await bench.until(sink, len(expected), 8 * len(expected) + 100)
    assert not bench.get("quiet"), "quiet before the last word was taken"
    await bench.settle()
    assert bench.get("quiet")
    words = Codec(word_layout(config))
    for number, (bits, want) in enumerate(zip(sink.received, expected, strict=True)):
        got = words.unpack(bits)
        assert meaning(got) == meaning(want), f"word {number} is {got}, expected {want}"
    return source.offered, sink.times


@cocotb.test()
@cocotb.parametrize(gap=[0.2, 0.7], longest=[1, 20])
async def words_in_order(dut, gap: float, longest: int) -> None:
    await fetch(BlockBench(dut, "fetcher", gap), longest)


@cocotb.test()
@cocotb.parametrize(longest=[1, 127])
async def a_word_a_cycle(dut, longest: int) -> None:
    bench = BlockBench(dut, "fetcher")
    offered, times = await fetch(bench, longest)
    assert times == list(range(times[0], times[0] + len(times)))
    assert times[0] - offered[0] == bench.block.LATENCY
