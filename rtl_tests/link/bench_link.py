"""The whole link against the golden device: the same bytes in, the same bytes out."""

from __future__ import annotations

import dataclasses
import random
import struct
from typing import Any

import cocotb

from plum_host.packets import encode
from plum_hw.config import preset
from plum_hw.gateware.link.host_port import IDENTITY_SPACE
from plum_hw.golden.device import GoldenDevice
from plum_hw.layouts import SPACE_BYTES, Counter, Op, Space, Status, identity, space_words
from rtl_tests.streams import Bench, planted

CONFIG = dataclasses.replace(preset("tiny"), name="bench", clusters=2, packet_bytes=200)


class Clusters:
    """Memories and runs of the clusters, slow and fast."""

    def __init__(self, bench: Bench) -> None:
        self._dut, self._rng, self._gap = bench.dut, bench.rng, bench.gap
        self._memory: dict[tuple[int, int, int], int] = {}
        self._answer: int | None = None
        self._offers = self._ready = False
        self._busy = 0
        self.run_cycles = 1000
        self.aborted = 0
        for name in ("host__request__ready", "host__response__valid", "busy"):
            getattr(bench.dut, name).value = 0
        bench.parts.append(self)

    def drive(self) -> None:
        dut = self._dut
        dut.busy.value = self._busy > 0
        self._ready = self._answer is None and self._rng.random() >= self._gap
        dut.host__request__ready.value = self._ready
        # An answer that was offered stays.
        if self._answer is not None and not self._offers:
            self._offers = self._rng.random() >= self._gap
            dut.host__response__payload.value = self._answer
        dut.host__response__valid.value = self._answer is not None and self._offers

    def sample(self) -> None:
        dut = self._dut
        if self._busy:
            self._busy -= 1
            if int(dut.abort.value):
                self._busy, self.aborted = 0, self.aborted + 1
        if int(dut.start.value):
            assert not self._busy
            self._busy = self.run_cycles
        if self._answer is not None:
            if self._offers and int(dut.host__response__ready.value):
                self._answer = None
        elif self._ready and int(dut.host__request__valid.value):
            self._serve(int(dut.host__request__payload.value), int(dut.targets.value))

    def _serve(self, request: int, targets: int) -> None:
        space, write = request & 7, request >> 3 & 1
        address, data = request >> 4 & 0xFFFF, request >> 20
        if space == IDENTITY_SPACE:
            self._answer = int.from_bytes(identity(CONFIG)[8 * address :][:8], "little")
            self._offers = False
            return
        assert not self._busy, "the host may not look into a cluster that runs"
        meant = [cluster for cluster in range(CONFIG.clusters) if targets >> cluster & 1]
        if write:
            for cluster in meant:
                self._memory[cluster, space, address] = data
        else:
            # Beside each counter stands the number of results; after a run both are read.
            after_run = (space, address) == (Space.COUNTER, Counter.CYCLES)
            assert len(meant) == 1 or after_run
            self._answer = self._memory.get((meant[0], space, address), 0) if meant else 0
            if after_run:
                self._answer = self.run_cycles | 7 << 32
            self._offers = False


class Setup:
    """Bench, line and clusters."""

    def __init__(self, dut: Any, gap: float) -> None:
        self.bench = Bench(dut, gap)
        self.rng = self.bench.rng
        self.rx, self.tx = self.bench.source("rx"), self.bench.sink("tx")
        self.clusters = Clusters(self.bench)

    async def expect(self, line: bytes, answers: bytes) -> None:
        """Send `line` and see exactly `answers`."""
        self.tx.received.clear()
        self.rx.send(line)
        await self.bench.until(self.tx, len(answers), 40 * (len(line) + len(answers)) + 5000)
        await self.bench.settle()
        assert self.rx.idle
        assert self.tx.received == planted(list(answers))


def access(rng: random.Random, sequence: int) -> bytes:
    """A READ or WRITE; right ones mostly, and all that can be wrong with one."""
    space = rng.choice([*Space, *Space, 6, 255])
    cluster = rng.choice([0, 0, 1, 1, 2, 0xFE, 0xFF])
    depth, size = 64, 4
    if space in list(Space):
        depth, size = space_words(CONFIG)[Space(space)], SPACE_BYTES[Space(space)]
    most = (CONFIG.packet_bytes - 2) // size
    count = rng.choice([0, 1, 2, 5, most - 1, most, most + 1, 0xFFFF])
    address = rng.choice(
        [0, 1, depth - 1, depth, max(0, depth - count), max(0, depth - count + 1), 1 << 16]
    )
    if rng.random() < 0.1:
        address = 0xFFFFFFFF
    if rng.random() < 0.5:
        body = struct.pack("<BBBBIH", sequence, Op.READ, space, cluster, address, count)
    else:
        data = rng.randbytes(min(count * size, CONFIG.packet_bytes - 8))
        body = struct.pack("<BBBBI", sequence, Op.WRITE, space, cluster, address) + data
    if rng.random() < 0.2:
        body = body[: rng.randrange(len(body) + 1)]
    return body


def simple(rng: random.Random, sequence: int) -> bytes:
    """Requests without memory, right and wrong. Never a right RUN."""
    body = bytes([sequence, rng.choice([Op.IDENTIFY, Op.ABORT, 0, 6, 255])])
    return rng.choice(
        [
            body,
            body + b"x",
            bytes([sequence]),
            struct.pack("<BBHH", sequence, Op.RUN, 0, 0),
            struct.pack("<BBHH", sequence, Op.RUN, 5, 0xFFFF),
            struct.pack("<BBHH", sequence, Op.RUN, CONFIG.code_depth, 1),
            struct.pack("<BBH", sequence, Op.RUN, 0),
        ]
    )


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def requests_are_answered_as_by_golden(dut, gap: float) -> None:
    setup, golden = Setup(dut, gap), GoldenDevice(CONFIG)
    await setup.bench.reset()
    for _ in range(6):
        kinds = [setup.rng.choice([access, access, simple]) for _ in range(20)]
        line = b"".join(encode(kind(setup.rng, i)) for i, kind in enumerate(kinds))
        await setup.expect(line, golden.feed(line))


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def whatever_arrives_the_next_good_packet_is_answered(dut, gap: float) -> None:
    setup, golden = Setup(dut, gap), GoldenDevice(CONFIG)
    await setup.bench.reset()
    rng = setup.rng
    for number in range(60):
        good = encode(access(rng, number))
        noise = rng.choice(
            [
                rng.randbytes(rng.randrange(1, 400)),
                good[: rng.randrange(len(good))],
                bytes(b ^ (rng.random() < 0.02) << rng.randrange(8) for b in good),
                bytes(rng.randrange(1, 256) for _ in range(rng.randrange(900))),
                good + good[rng.randrange(len(good)) :],
            ]
        )
        line = noise + b"\0" + encode(bytes([number, Op.IDENTIFY]))
        await setup.expect(line, golden.feed(line))


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def runs(dut, gap: float) -> None:
    setup, golden = Setup(dut, gap), GoldenDevice(CONFIG)
    await setup.bench.reset()
    identify = encode(bytes([1, Op.IDENTIFY]))
    read = encode(struct.pack("<BBBBIH", 2, Op.READ, 0, 0, 0, 1))
    run = encode(struct.pack("<BBHH", 3, Op.RUN, 10, 2))
    abort = encode(bytes([4, Op.ABORT]))
    done = encode(struct.pack("<BBIH", 3, Status.OK, 1000, 7))
    busy = bytes([2, Status.BUSY])

    for _ in range(3):
        await setup.expect(run, done)
        assert int(dut.program.value) == 10
        assert int(dut.layers.value) == 2
    await setup.expect(
        run + identify + read + identify,
        golden.feed(identify) + encode(busy) + golden.feed(identify) + done,
    )
    await setup.expect(run + run, encode(bytes([3, Status.BUSY])) + done)
    await setup.expect(
        run + abort, encode(bytes([3, Status.ABORTED])) + encode(bytes([4, Status.OK]))
    )
    assert setup.clusters.aborted == 1
    await setup.expect(abort + read, golden.feed(abort + read))
    # A run of no length, and one that ends about when it is aborted.
    for cycles in [1, *range(60, 180, 3)]:
        setup.clusters.run_cycles = cycles
        setup.tx.received.clear()
        setup.rx.send(run + abort)
        ok = encode(bytes([4, Status.OK]))
        stopped = encode(bytes([3, Status.ABORTED])) + ok
        ended = encode(struct.pack("<BBIH", 3, Status.OK, cycles, 7)) + ok
        await setup.bench.settle(600)
        assert bytes(setup.tx.received) in (stopped, ended)


@cocotb.test()
async def data_moves_at_two_cycles_a_byte(dut) -> None:
    setup = Setup(dut, 0.0)
    await setup.bench.reset()
    # Values without zeros, so that the frames' overhead is one byte.
    data = bytes(range(1, 193))
    write = encode(struct.pack("<BBBBI", 1, Op.WRITE, Space.ACTIVATION, 0xFF, 0x101) + data)
    begin = setup.bench.cycles
    await setup.expect(write, encode(bytes([1, Status.OK])))
    # In, two cycles a byte; out of the packet buffer into the memory, one.
    assert setup.bench.cycles - begin - 40 <= 3 * len(write) + 40
    read = encode(struct.pack("<BBBBIH", 2, Op.READ, Space.ACTIVATION, 1, 0x101, 24))
    begin = setup.bench.cycles
    answer = encode(bytes([2, Status.OK]) + data)
    await setup.expect(read, answer)
    # Behind each other: the request, the answer with its checksum, the way out of its block.
    assert setup.bench.cycles - begin - 40 <= 3 * len(read) + 3 * len(answer) + 40
