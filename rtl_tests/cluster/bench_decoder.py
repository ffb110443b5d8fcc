"""Decoder: every beat of every word, in the very cycle that docs/architecture.md gives it."""

from __future__ import annotations

from typing import Any

import cocotb

from plum_hw.gateware.cluster.jobs import word_layout
from plum_hw.layouts import Start
from rtl_tests.cluster.blocks import BlockBench, Codec, drain_job, emit_job


class Beats:
    """Notes the beats at the output with their cycles, the stalls, and when the block is quiet."""

    def __init__(self, bench: BlockBench) -> None:
        self._bench = bench
        self.seen: list[tuple] = []
        self.counts = {"beat_count": 0, "drain_stalls": 0, "emit_stalls": 0}
        self.quiet: set[int] = set()
        bench.parts.append(self)

    def drive(self) -> None:
        pass

    def sample(self) -> None:
        bench = self._bench
        for name in self.counts:
            self.counts[name] += bench.get(name)
        if bench.get("quiet"):
            self.quiet.add(bench.cycles)
        beat = bench.get("beat")
        if beat["valid"] or beat["residual"] or beat["emit"]:
            self.seen.append(
                (
                    bench.cycles,
                    None if beat["null"] and beat["valid"] else bench.get("address"),
                    "residual" if beat["residual"] else beat["start"],
                    beat["drain_job"] if beat["drain"] else None,
                    beat["emit_job"] if beat["emit"] else None,
                )
            )


def schedule(config, words: list[dict[str, Any]], offered: list[int], emit_gap: int):
    """The beats as `Beats` notes them, the counts, and the cycles in which a word is worked on."""
    beats, busy = [], set()
    counts = {"beat_count": 0, "drain_stalls": 0, "emit_stalls": 0}
    done = -1  # cycle of the last beat's issue
    drain_free = emit_free = 0
    for word, offer in zip(words, offered, strict=True):
        # A word is taken in the cycle of the beat before, and no sooner than it is offered.
        taken = max(done, offer)
        bits = [i for i in range(config.mask_bits) if word["mask"] >> i & 1] or [None]
        now = taken + 1
        for number, bit in enumerate(bits):
            last = bit == bits[-1]
            if last and word["drain"]:
                counts["drain_stalls"] += max(0, drain_free - now)
                now = max(now, drain_free)
            if last and word["emit"]:
                counts["emit_stalls"] += max(0, emit_free - now)
                now = max(now, emit_free)
            if last and word["drain"]:
                drain_free = now + config.groups
            if last and word["emit"]:
                emit_free = now + emit_gap
            address = None if bit is None else (word["address"] + bit) % (1 << config.act_addr_bits)
            start = word["start"] if number == 0 else Start.KEEP
            beats.append(
                (
                    now + 2,
                    address,
                    "residual" if word["residual"] else start,
                    word["drain_job"] if last and word["drain"] else None,
                    word["emit_job"] if last and word["emit"] else None,
                )
            )
            counts["beat_count"] += not word["residual"]
            done, now = now, now + 1
        busy |= set(range(taken + 1, done + 2))
    return beats, counts, busy


def random_word(bench: BlockBench, events: float) -> dict[str, Any]:
    rng, config = bench.rng, bench.config
    full = (1 << config.mask_bits) - 1
    sparse = rng.getrandbits(config.mask_bits) & rng.getrandbits(config.mask_bits)
    mask = rng.choice([0, full, 1, 1 << (config.mask_bits - 1), rng.randrange(full), sparse])
    residual = rng.random() < events / 4
    return {
        "mask": 1 if residual else mask,
        "address": rng.randrange(1 << config.act_addr_bits),
        "start": rng.choice(list(Start)),
        "drain": int(not residual and rng.random() < events),
        "drain_job": drain_job(rng),
        "residual": int(residual),
        "emit": int(residual or rng.random() < events / 2),
        "emit_job": emit_job(rng),
    }


async def decode(bench: BlockBench, words: list[dict[str, Any]], emit_gap: int) -> Beats:
    """Give words to the block and compare everything with the schedule."""
    source, beats = bench.source("i"), Beats(bench)
    bench.set(emit_gap=emit_gap, i__payload={})
    await bench.reset()
    codec = Codec(word_layout(bench.config))
    source.send(codec.pack(word) for word in words)
    if bench.fault:
        words = [
            *words[:5],
            {**words[5], "address": words[5]["address"] ^ 1, "mask": 1},
            *words[6:],
        ]
    while not source.idle:
        await bench.cycle()
    await bench.settle(max(emit_gap, bench.config.groups) + bench.config.mask_bits + 8)
    expected, counts, busy = schedule(bench.config, words, source.offered, emit_gap)
    for number, (got, want) in enumerate(zip(beats.seen, expected, strict=False)):
        assert got == want, f"beat {number} is {got}, expected {want}"
    assert len(beats.seen) == len(expected)
    assert beats.counts == counts
    assert not beats.quiet & busy, "quiet in the middle of a word"
    assert max(beats.quiet) > max(busy)
    return beats


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.6], emit_gap=[0, 1, 9, 150], events=[0.2, 0.9])
async def beats_and_stalls(dut, gap: float, emit_gap: int, events: float) -> None:
    bench = BlockBench(dut, "decoder", gap)
    words = [random_word(bench, events) for _ in range(60)]
    await decode(bench, words, emit_gap)


@cocotb.test()
@cocotb.parametrize(mask=["empty", "full", "random"])
async def a_beat_a_cycle_without_bubbles(dut, mask: str) -> None:
    bench = BlockBench(dut, "decoder")
    bits = bench.config.mask_bits
    words = [random_word(bench, 0.0) for _ in range(60)]
    for word in words:
        word["mask"] = {"empty": 0, "full": (1 << bits) - 1}.get(mask, word["mask"])
    beats = await decode(bench, words, 0)
    count = sum(max(1, word["mask"].bit_count()) for word in words)
    cycles = [beat[0] for beat in beats.seen]
    assert cycles == list(range(cycles[0], cycles[0] + count))


@cocotb.test()
async def the_longest_gap_between_emissions(dut) -> None:
    bench = BlockBench(dut, "decoder")
    words = [{**random_word(bench, 0.0), "mask": 1, "emit": 1} for _ in range(7)]
    beats = await decode(bench, words, 1023)
    assert [b[0] - a[0] for a, b in zip(beats.seen, beats.seen[1:], strict=False)] == [1023] * 6
