"""Walker: the loops of docs/architecture.md over vectors, passes and segments."""

from __future__ import annotations

from typing import Any

import cocotb

from plum_hw.gateware.cluster.jobs import SIDE_BANK, segment_job_layout
from plum_hw.layouts import Start, layer_layout, segment_layout
from rtl_tests.cluster.blocks import BlockBench, Codec, ReadOnlyMemory, meaning

#: What a pass needs besides its segments: vector, number of the filter pass (None: the window
#: sum), bank of its filter.
Pass = tuple[int, int | None, int]


def passes_of(layer: dict[str, int]) -> list[Pass]:
    """The passes of a layer, in order."""
    window = int(layer["window_segments"] > 0)
    result: list[Pass] = []
    bank = 0
    for vector in range(layer["vectors"]):
        for number in range(-window, layer["passes"] - window):
            if number < 0:
                result.append((vector, None, 0))
            else:
                result.append((vector, number, bank))
                bank ^= 1
    return result


def job_of(config, layer: dict[str, int], segment: dict[str, int], place: Pass) -> dict[str, Any]:
    """A segment of a pass, as the fetcher gets it."""
    vector, number, alternating = place
    window = layer["window_segments"] > 0
    filter_bank = alternating
    if layer["pair"]:
        alone = not window and not layer["residual"]
        filter_bank = 2 * alternating + segment["bank"] if alone else alternating ^ segment["bank"]
    # Window sums and residuals have two banks, which they share where both are needed.
    window_bank = 0 if layer["residual"] else vector % 2
    residual_bank = 1 if window else filter_bank % 2
    at = "res" if segment["residual"] else "in"
    address = layer[f"{at}_base"] + vector * layer[f"{at}_step"] + segment["offset"]
    bank, missing = filter_bank, False
    if number is None:
        bank = SIDE_BANK + window_bank
    else:
        address += number * (1 + layer["pair"]) if layer["filter_step"] else 0
        if segment["residual"]:
            bank = SIDE_BANK + residual_bank
        last = number == layer["passes"] - window - 1
        missing = bool(layer["odd"] and last and segment["bank"] == 0)
    return {
        "address": address % (1 << config.act_addr_bits),
        "words": segment["words"],
        "start": segment["start"],
        "drain": segment["drain"],
        "drain_job": {
            "shift": segment["shift"],
            "op": segment["op"],
            "negate": segment["negate"],
            "bank": bank,
        },
        "residual": segment["residual"],
        "emit": int(segment["emit"] and number is not None and not missing),
        "emit_job": {
            "filter": (2 * number + segment["bank"] if layer["pair"] else number)
            if number is not None
            else None,
            "bank": filter_bank,
            "window_bank": window_bank,
            "residual_bank": residual_bank,
        },
    }


def jobs_of(
    config, layer: dict[str, int], window: list[dict[str, int]], segments: list[dict[str, int]]
) -> list[dict[str, Any]]:
    """What a layer hands to the fetcher."""
    jobs = []
    for index, place in enumerate(passes_of(layer)):
        of_pass = window if place[1] is None else segments
        first_of_vector = index % layer["passes"] == 0
        for number, segment in enumerate(of_pass):
            job = job_of(config, layer, segment, place)
            restarts = number == 0 and (first_of_vector or layer["shared_masks"])
            ends = number == len(of_pass) - 1 and (index + 1) % layer["passes"] == 0
            job["restart"] = int(restarts)
            job["emit_job"]["last_filter"] = int(ends)
            jobs.append(job)
    return jobs


def random_layer(bench: BlockBench, sizes: tuple[int, int, int]) -> dict[str, int]:
    rng, config = bench.rng, bench.config
    layer = {
        field.name: rng.randint(field.low, field.high) for field in layer_layout(config).fields
    }
    names = ("vectors", "passes", "segments")
    layer.update({name: rng.randint(1, size) for name, size in zip(names, sizes, strict=True)})
    layer["window_segments"] = rng.choice([0, rng.randint(1, sizes[2])])
    layer["passes"] += layer["window_segments"] > 0
    return layer


def random_segments(bench: BlockBench, count: int) -> list[dict[str, int]]:
    rng = bench.rng
    segments = []
    for _ in range(count):
        fields = segment_layout(bench.config).fields
        segment = {field.name: rng.randint(field.low, field.high) for field in fields}
        segment.update(words=rng.randint(1, 127), start=rng.choice(list(Start)))
        segments.append(segment)
    return segments


async def walk(bench: BlockBench, layers: list[dict[str, int]]) -> None:
    """Walk layer after layer; without gaps a layer takes a cycle for each segment."""
    config = bench.config
    sink = bench.sink("o")
    codec = Codec(segment_job_layout(config))
    code = [0] * (1 << config.code_addr_bits)
    enable = "enable" if config.slow_clock else None
    ReadOnlyMemory(bench, "address", "word", code, latency=bench.block.WORD_LATENCY, enable=enable)
    layout = segment_layout(config)
    bench.set(start=0, clear=0)
    await bench.reset()
    for number, layer in enumerate(layers):
        window = random_segments(bench, layer["window_segments"])
        segments = random_segments(bench, layer["segments"])
        for index, segment in enumerate([*window, *segments]):
            code[(layer["segment_ptr"] + index) % len(code)] = layout.pack(**segment)[0]
        expected = jobs_of(config, layer, window, segments)
        sink.received.clear()
        bench.set(clear=1)
        await bench.cycle()
        bench.set(clear=0)
        await bench.settle(bench.rng.randrange(1, 4))
        # Inputs change in the cycle after this one, before the parts are driven.
        started = bench.cycles
        bench.set(layer=layer, start=1)
        await bench.cycle()
        bench.set(start=0)
        count = len(expected)
        await bench.until(sink, count, 20 * count + 50)
        if not bench.gap:
            took = sink.times[-1] - started
            assert took == bench.block.LATENCY + count - 1, f"{count} segments took {took} cycles"
        await bench.settle(12)
        assert bench.get("quiet"), f"layer {number}"
        if bench.fault:
            expected[0]["words"] ^= 1
        jobs = [codec.unpack(bits) for bits in sink.received]
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
    layer.update(zip(("vectors", "passes", "segments"), sizes, strict=True))
    layer["segments"] = min(layer["segments"], bench.config.code_depth)
    layer["passes"] = min(layer["passes"], 1 << bench.config.filter_bits >> layer["pair"])
    await walk(bench, [layer | {"window_segments": 0}])


@cocotb.test()
async def longest_window(dut) -> None:
    bench = BlockBench(dut, "walker")
    longest = min(1000, bench.config.code_depth - 1)
    layer = random_layer(bench, (1, 1, 1))
    layer |= {"vectors": 2, "passes": 2, "window_segments": longest}
    await walk(bench, [layer])
