"""Fetcher: bytes of the mask words of segments, in order, with what goes along with them."""

from __future__ import annotations

from typing import Any

import cocotb

from plum_hw.gateware.cluster.jobs import MASK_BYTE, mask_layout, segment_job_layout
from plum_hw.layouts import Start
from rtl_tests.cluster.blocks import (
    BlockBench,
    Codec,
    ReadOnlyMemory,
    drain_job,
    emit_job,
    meaning,
)


def bytes_of(
    config, segments: list[dict[str, Any]], code: list[int], weight_ptr: int
) -> list[dict[str, Any]]:
    """Bytes that are not zero of segments' words, or one zero of an empty word.

    Bit i of word w is address `offset + i + mask_bits * w`; a residual's word is added to its
    address.
    """
    result = []
    pointer = 0
    for segment in segments:
        if segment["restart"]:
            pointer = weight_ptr
        for number in range(segment["words"]):
            word = code[pointer % len(code)]
            pointer += 1
            address = segment["address"] + config.mask_bits * number
            if segment["residual"]:
                word, address = 1, address + word
            parts = [(at, word >> at & 255) for at in range(0, config.mask_bits, MASK_BYTE)]
            full = [(at, part) for at, part in parts if part] or [(0, 0)]
            for at, part in full:
                first = number == 0 and at == full[0][0]
                last = number == segment["words"] - 1 and at == full[-1][0]
                result.append(
                    {
                        "mask": part,
                        "address": address % (1 << config.act_addr_bits),
                        "byte": at // MASK_BYTE,
                        "start": segment["start"] if first else Start.KEEP,
                        "drain": segment["drain"] * last,
                        "drain_job": segment["drain_job"],
                        "emit": segment["emit"] * last,
                        "emit_job": segment["emit_job"],
                    }
                )
    return result


def random_segment(bench: BlockBench, longest: int) -> dict[str, Any]:
    rng, config = bench.rng, bench.config
    residual = bench.chance(0.15)
    return {
        "address": rng.randrange(1 << config.act_addr_bits),
        "restart": int(bench.chance(0.2)),
        "words": 1 if residual else rng.choice([1, 1, 2, 3, rng.randint(1, longest)]),
        "start": rng.choice(list(Start)),
        "drain": int(bench.chance(0.5)),
        "drain_job": drain_job(rng),
        "residual": int(residual),
        "emit": int(bench.chance(0.3)),
        "emit_job": emit_job(rng, config),
    }


async def fetch(bench: BlockBench, longest: int):
    """Fetch random segments; the cycles in which they were offered and their bytes taken."""
    config = bench.config
    source, sink = bench.source("i"), bench.sink("o")

    def word() -> int:
        """A random word, with empty bytes in many."""
        kept = sum(255 << at for at in range(0, 32, 8) if bench.chance(0.6))
        return bench.rng.getrandbits(32) & kept

    code = [word() for _ in range(1 << config.code_addr_bits)]
    ReadOnlyMemory(bench, "address", "word", code, latency=1, enable="enable")
    weight_ptr = bench.rng.randrange(len(code))
    bench.set(weight_ptr=weight_ptr)
    await bench.reset()
    segments = [random_segment(bench, longest) for _ in range(80)]
    segments[0]["restart"] = 1
    codec = Codec(segment_job_layout(config))
    source.send(codec.pack(segment) for segment in segments)
    expected = bytes_of(config, segments, code, weight_ptr)
    if bench.fault:
        expected[7]["mask"] ^= 1
    await bench.until(sink, len(expected), 8 * len(expected) + 100)
    assert not bench.get("quiet"), "quiet before the last byte was taken"
    await bench.settle()
    assert bench.get("quiet")
    words = Codec(mask_layout(config))
    for number, (bits, want) in enumerate(zip(sink.received, expected, strict=True)):
        got = words.unpack(bits)
        assert meaning(got) == meaning(want), f"byte {number} is {got}, expected {want}"
    return source.offered, sink.times


@cocotb.test()
@cocotb.parametrize(gap=[0.2, 0.7], longest=[1, 20])
async def bytes_in_order(dut, gap: float, longest: int) -> None:
    await fetch(BlockBench(dut, "fetcher", gap), longest)


@cocotb.test()
@cocotb.parametrize(longest=[1, 127])
async def a_byte_a_cycle(dut, longest: int) -> None:
    bench = BlockBench(dut, "fetcher")
    offered, times = await fetch(bench, longest)
    assert times == list(range(times[0], times[0] + len(times)))
    assert times[0] - offered[0] == bench.block.LATENCY
