"""Walker: the loops of docs/architecture.md over vectors, filters and segments."""

from __future__ import annotations

from typing import Any

import cocotb

from plum_hw.gateware.cluster.jobs import WINDOW_BANK, segment_job_layout
from plum_hw.layouts import Start, layer_layout, segment_layout
from rtl_tests.cluster.blocks import BlockBench, Codec, ReadOnlyMemory, meaning


def segments_of(
    config, layer: dict[str, int], segments: list[dict[str, int]], bank: int
) -> list[dict[str, Any]]:
    """What a layer hands to the fetcher; the first filter's sums are kept in `bank`."""
    act, weights = 1 << config.act_addr_bits, 1 << config.weight_addr_bits
    jobs = []
    for vector in range(layer["vectors"]):
        weight = layer["weight_ptr"]
        for filters in range(layer["filters"]):
            if layer["shared_masks"]:
                weight = layer["weight_ptr"]
            is_window = bool(layer["window"]) and filters == 0
            k = filters - layer["window"]
            source = layer["in_base"] + vector * layer["in_step"]
            source += k if layer["filter_step"] else 0
            common = {
                "residual": 0,
                "emit": 0,
                "emit_job": {
                    "filter": k,
                    "bank": bank,
                    "window_bank": vector % 2,
                    "last_filter": int(filters == layer["filters"] - 1),
                },
            }
            drain_bank = WINDOW_BANK + vector % 2 if is_window else bank
            for segment in segments:
                jobs.append(
                    {
                        **common,
                        "address": (source + segment["offset"]) % act,
                        "weight": weight % weights,
                        "words": segment["words"],
                        "start": segment["start"],
                        "drain": segment["drain"],
                        "drain_job": {
                            "shift": segment["shift"],
                            "op": segment["op"],
                            "negate": segment["negate"],
                            "bank": drain_bank,
                        },
                    }
                )
                weight += segment["words"]
            if is_window:
                continue
            if layer["residual"]:
                address = layer["res_base"] + vector * layer["res_step"] + k
                jobs.append(
                    {**common, "address": address % act, "words": 1, "drain": 0, "residual": 1}
                )
            jobs[-1]["emit"] = 1
            bank ^= 1
    return jobs


def random_layer(bench: BlockBench, sizes: tuple[int, int, int]) -> dict[str, int]:
    rng, config = bench.rng, bench.config
    layer = {
        field.name: rng.randint(field.low, field.high) for field in layer_layout(config).fields
    }
    layer["vectors"], layer["filters"], layer["segments"] = (rng.randint(1, size) for size in sizes)
    if layer["filter_step"]:
        layer["window"] = 0  # a window sum is one for all filters
    return layer


async def walk(bench: BlockBench, layers: list[dict[str, int]]) -> None:
    """Walk layer after layer; without gaps a layer takes a cycle for each segment."""
    config, rng = bench.config, bench.rng
    sink = bench.sink("o")
    codec = Codec(segment_job_layout(config))
    program = [0] * (1 << config.program_addr_bits)
    ReadOnlyMemory(bench, "address", "word", program, latency=1)
    layout = segment_layout(config)
    bench.set(start=0)
    await bench.reset()
    for number, layer in enumerate(layers):
        segments = []
        for index in range(layer["segments"]):
            segment = {field.name: rng.randint(field.low, field.high) for field in layout.fields}
            segment.update(words=rng.randint(1, 127), start=rng.choice(list(Start)))
            segments.append(segment)
            program[(layer["segment_ptr"] + index) % len(program)] = layout.pack(**segment)[0]
        sink.received.clear()
        # Inputs change in the cycle after this one, before the parts are driven.
        started = bench.cycles
        bench.set(layer=layer, start=1)
        await bench.cycle()
        bench.set(start=0)
        count = len(segments_of(config, layer, segments, 0))
        await bench.until(sink, count, 20 * count + 50)
        if not bench.gap:
            took = sink.times[-1] - started
            assert took == bench.block.LATENCY + count - 1, f"{count} segments took {took} cycles"
        await bench.settle(12)
        assert bench.get("quiet"), f"layer {number}"
        jobs = [codec.unpack(bits) for bits in sink.received]
        # Which of the two banks comes first is the walker's own business.
        first = next((job["emit_job"]["bank"] for job in jobs if job["emit"]), 0)
        expected = segments_of(config, layer, segments, first)
        if bench.fault:
            expected[0]["words"] ^= 1
        for index, (got, want) in enumerate(zip(jobs, expected, strict=True)):
            got, want = meaning(got), meaning(want)
            assert got == want, f"layer {number}, segment {index} is {got}, expected {want}"


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.6], sizes=[(1, 1, 1), (3, 4, 5), (4, 3, 1), (2, 1, 30)])
async def loops(dut, gap: float, sizes: tuple[int, int, int]) -> None:
    bench = BlockBench(dut, "walker", gap)
    await walk(bench, [random_layer(bench, sizes) for _ in range(12)])


@cocotb.test()
@cocotb.parametrize(sizes=[(511, 1, 1), (1, 4095, 1), (1, 1, 1023)])
async def largest_counts(dut, sizes: tuple[int, int, int]) -> None:
    bench = BlockBench(dut, "walker")
    layer = random_layer(bench, (1, 1, 1))
    layer.update(zip(("vectors", "filters", "segments"), sizes, strict=True))
    layer.update(residual=0, filter_step=0)
    await walk(bench, [layer])
