"""Decoder: every beat of every word, in the very cycle that docs/architecture.md gives it."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb

from plum_hw.gateware.cluster.jobs import MASK_BYTE, SIDE_BANK, mask_layout
from plum_hw.layouts import DrainOp, Start
from plum_hw.timing import BANK_FREE
from rtl_tests.cluster.blocks import BlockBench, Codec, drain_job, emit_job


class Beats:
    """Notes the beats at the output with their cycles, the stalls, and when the block is quiet."""

    def __init__(self, bench: BlockBench) -> None:
        self._bench = bench
        self.seen: list[tuple] = []
        self.counts = {"beat_count": 0, "drain_stalls": 0, "emit_stalls": 0, "overrun": 0}
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
        if beat["valid"] or beat["emit"]:
            self.seen.append(
                (
                    bench.cycles,
                    None if beat["null"] else bench.get("address"),
                    beat["start"],
                    beat["drain_job"] if beat["drain"] else None,
                    beat["emit_job"] if beat["emit"] else None,
                )
            )


class Emissions:
    """The emitter's part: each emission is finished a random time after its beat, one by one.

    `finish` has the cycle of each.
    """

    def __init__(self, bench: BlockBench, longest: int) -> None:
        self._bench, self._longest = bench, longest
        self._waiting: deque[tuple[int, int]] = deque()  # earliest finish, bank
        self.finish: list[int] = []
        bench.parts.append(self)

    def drive(self) -> None:
        now, bench = self._bench.cycles, self._bench
        ends = bool(self._waiting) and self._waiting[0][0] <= now
        bench.set(finished=int(ends), finished_bank=bench.rng.randrange(4))
        if ends:
            bench.set(finished_bank=self._waiting.popleft()[1])
            self.finish.append(now)

    def sample(self) -> None:
        beat = self._bench.get("beat")
        if beat["emit"]:
            after = self._bench.cycles + self._bench.rng.randint(1, self._longest)
            self._waiting.append((after, beat["emit_job"]["bank"]))


def reads(layer: dict[str, int], job: dict[str, int]) -> set[int]:
    """Banks that an emission reads."""
    banks = {job["bank"]}
    if layer["window"]:
        banks.add(SIDE_BANK + job["window_bank"])
    if layer["residual"]:
        banks.add(SIDE_BANK + job["residual_bank"])
    return banks


def schedule(config, layer, words: list[dict[str, Any]], offered: list[int], finish: list[int]):
    """The beats as `Beats` notes them, the counts, and the cycles in which a word is worked on or
    an emission is unfinished.

    finish : cycle of each emission
    """
    beats, busy = [], set()
    counts = {"beat_count": 0, "drain_stalls": 0, "emit_stalls": 0, "overrun": 0}
    done = -1  # cycle of the last beat's issue
    drain_free = 0
    free = [0] * 4  # when each bank may be opened
    ends = iter(finish)
    accepts = [0, 0]  # when the next emission may begin, and the one after it
    for word, offer in zip(words, offered, strict=True):
        # A word is taken in the cycle of the beat before, and no sooner than it is offered.
        taken = max(done, offer)
        bits = [i for i in range(MASK_BYTE) if word["mask"] >> i & 1] or [None]
        now = taken + 1
        for number, bit in enumerate(bits):
            last = bit == bits[-1]
            if last and word["drain"]:
                counts["drain_stalls"] += max(0, drain_free - now)
                now = max(now, drain_free)
                if word["drain_job"]["op"] == DrainOp.SET:
                    bank = word["drain_job"]["bank"]
                    counts["emit_stalls"] += max(0, free[bank] - now)
                    now = max(now, free[bank])
                if word["emit"]:
                    counts["emit_stalls"] += max(0, accepts[0] - now)
                    now = max(now, accepts[0])
                drain_free = now + config.drain_cycles
            if last and word["emit"]:
                end = next(ends)
                busy |= set(range(now + 1, end + 1))
                accepts = [accepts[1], end + BANK_FREE]
                for bank in reads(layer, word["emit_job"]):
                    free[bank] = max(free[bank], end + BANK_FREE)
            address = None
            if bit is not None:
                address = word["address"] + MASK_BYTE * word["byte"] + bit
                address %= 1 << config.act_addr_bits
            start = word["start"] if number == 0 else Start.KEEP
            beats.append(
                (
                    now + (1 if config.slow_clock else 2),
                    address,
                    start,
                    word["drain_job"] if last and word["drain"] else None,
                    word["emit_job"] if last and word["emit"] else None,
                )
            )
            counts["beat_count"] += 1
            done, now = now, now + 1
        busy |= set(range(taken + 1, done + 1))
    return beats, counts, busy


def random_words(bench: BlockBench, layer: dict[str, int], count: int, events: float):
    """Words as programs have them: a bank is opened before an emission reads it."""
    rng, config = bench.rng, bench.config
    full = (1 << MASK_BYTE) - 1
    opened: set[int] = set()  # since they were last read
    words = []
    for _ in range(count):
        sparse = rng.getrandbits(MASK_BYTE) & rng.getrandbits(MASK_BYTE)
        mask = rng.choice([0, full, 1, 1 << (MASK_BYTE - 1), rng.randrange(full), sparse])
        word = {
            "mask": mask,
            "address": rng.randrange(1 << config.act_addr_bits),
            "byte": rng.randrange(config.mask_bits // MASK_BYTE),
            "start": rng.choice(list(Start)),
            "drain": int(rng.random() < events),
            "drain_job": drain_job(rng),
            "emit": 0,
            "emit_job": emit_job(rng, config),
        }
        if layer["window"] or layer["residual"]:
            word["emit_job"]["bank"] %= SIDE_BANK
        if word["drain"]:
            if word["drain_job"]["op"] == DrainOp.SET:
                opened.add(word["drain_job"]["bank"])
            bank = word["emit_job"]["bank"]
            if bank in opened and rng.random() < 0.5:
                word["emit"] = 1
                opened.remove(bank)
        words.append(word)
    return words


async def decode(
    bench: BlockBench, layer: dict[str, int], words: list[dict[str, Any]], longest: int
) -> Beats:
    """Give words to the block and compare everything with the schedule."""
    source, beats, emissions = bench.source("i"), Beats(bench), Emissions(bench, longest)
    bench.set(i__payload={}, idle=0, other=bench.rng.randrange(bench.config.act_depth), **layer)
    await bench.reset()
    codec = Codec(mask_layout(bench.config))
    source.send(codec.pack(word) for word in words)
    if bench.fault:
        words = [
            *words[:5],
            {**words[5], "address": words[5]["address"] ^ 1, "mask": 1},
            *words[6:],
        ]
    while not source.idle:
        await bench.cycle()
    await bench.settle(2 * longest + bench.config.groups + MASK_BYTE + 8)
    args = (bench.config, layer, words, source.offered, emissions.finish)
    expected, counts, busy = schedule(*args)
    for number, (got, want) in enumerate(zip(beats.seen, expected, strict=False)):
        assert got == want, f"beat {number} is {got}, expected {want}"
    assert len(beats.seen) == len(expected)
    assert beats.counts == counts
    assert not beats.quiet & busy, "quiet in the middle of a word or an emission"
    assert max(beats.quiet) > max(busy)
    return beats


@cocotb.test()
@cocotb.parametrize(
    gap=[0.0, 0.6], longest=[1, 9, 150], events=[0.2, 0.9], window=[0, 1], residual=[0, 1]
)
async def beats_and_stalls(
    dut, gap: float, longest: int, events: float, window: int, residual: int
) -> None:
    bench = BlockBench(dut, "decoder", gap)
    layer = {"window": window, "residual": residual}
    await decode(bench, layer, random_words(bench, layer, 80, events), longest)


@cocotb.test()
@cocotb.parametrize(mask=["empty", "full", "random"])
async def a_beat_a_cycle_without_bubbles(dut, mask: str) -> None:
    bench = BlockBench(dut, "decoder")
    layer = {"window": 0, "residual": 0}
    words = random_words(bench, layer, 60, 0.0)
    for word in words:
        word["mask"] = {"empty": 0, "full": (1 << MASK_BYTE) - 1}.get(mask, word["mask"])
    beats = await decode(bench, layer, words, 1)
    count = sum(max(1, word["mask"].bit_count()) for word in words)
    cycles = [beat[0] for beat in beats.seen]
    assert cycles == list(range(cycles[0], cycles[0] + count))


@cocotb.test()
async def an_emission_that_meets_another_is_noticed(dut) -> None:
    """Two filters in the same bank, and the second does not open it."""
    bench = BlockBench(dut, "decoder")
    beats, source = Beats(bench), bench.source("i")
    bench.set(i__payload={}, idle=0, other=0, window=0, residual=0, finished=0)
    await bench.reset()
    job = {"shift": 0, "op": DrainOp.ADD, "negate": 0, "bank": 1}
    word = {"mask": 1, "byte": 0, "drain": 1, "drain_job": job, "emit": 1, "emit_job": {"bank": 1}}
    codec = Codec(mask_layout(bench.config))
    source.send([codec.pack(word)] * 2)
    await bench.settle(60)
    assert beats.counts["overrun"] == 1


@cocotb.test()
async def when_idle_the_address_is_another(dut) -> None:
    bench = BlockBench(dut, "decoder")
    bench.set(i__payload={}, i__valid=0, idle=1, other=0, window=0, residual=0, finished=0)
    await bench.reset()
    late = bench.block.ADDRESS_LATENCY
    others = [bench.rng.randrange(bench.config.act_depth) for _ in range(50)]
    for number, other in enumerate(others):
        bench.set(other=other)
        await bench.cycle()
        if number >= late:
            assert bench.get("address") == others[number - late]
