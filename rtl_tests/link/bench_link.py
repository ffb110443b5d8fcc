"""The whole link against the golden device: the same bytes in, the same bytes out."""

from __future__ import annotations

import dataclasses
import os
import struct
from typing import Any

import cocotb

from plum_host.packets import encode
from plum_hw.config import ArrayConfig
from plum_hw.golden.device import GoldenDevice
from plum_hw.layouts import (
    PROTOCOL_VERSION,
    SPACE_BYTES,
    Counter,
    Op,
    Reason,
    Space,
    Status,
    identity,
    space_words,
)
from plum_hw.presets import preset
from rtl_tests.streams import Bench, Sink, planted


def config(lut_inputs: int) -> ArrayConfig:
    """An array whose link is looked at: with LUTs of four inputs it has more registers."""
    return dataclasses.replace(
        preset("tiny"),
        name="bench",
        clusters=2,
        packet_bytes=200,
        queue_bytes=512,
        lut_inputs=lut_inputs,
    )


CONFIG = config(int(os.environ.get("LUT_INPUTS", "6")))
CLOCK_HZ = 48_000_000
_RUN_CYCLES = 1000


class Clusters:
    """Memories and runs of the clusters, slow and fast."""

    def __init__(self, bench: Bench, tx: Sink) -> None:
        self._tx = tx
        self._dut, self._rng, self._gap = bench.dut, bench.rng, bench.gap
        self._memory: dict[tuple[int, int, int], int] = {}
        self._answer: int | None = None
        self._offers = self._ready = False
        self._busy = 0
        self.run_cycles = _RUN_CYCLES
        self.runs = self.aborted = 0
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
        if int(dut.start.value):
            assert not self._busy
            self._busy = self.run_cycles
            self.runs += 1
        if int(dut.finish.value):
            assert not self._busy
            self._store(0, Space.RESULT, int(dut.results_at.value) - 1 & 255, self.run_cycles)
            self._store(0, Space.COUNTER, Counter.CYCLES, self.run_cycles)
        if int(dut.abort.value):
            self._tx.forget()
            self.aborted += self._busy > 0
            self._busy, self._answer = 0, None
        elif self._answer is not None:
            if self._offers and int(dut.host__response__ready.value):
                self._answer = None
        elif self._ready and int(dut.host__request__valid.value):
            self._serve(int(dut.host__request__payload.value), int(dut.targets.value))

    def _store(self, cluster: int, space: int, address: int, data: int) -> None:
        self._memory[cluster, space, address] = data

    def _serve(self, request: int, targets: int) -> None:
        space, write = request & 7, request >> 3 & 1
        address, data = request >> 4 & 0xFFFF, request >> 20
        assert not self._busy, "the host may not look into a cluster that runs"
        meant = [cluster for cluster in range(CONFIG.clusters) if targets >> cluster & 1]
        if write:
            for cluster in meant:
                size = SPACE_BYTES[Space(space)]
                self._store(cluster, space, address, data & ((1 << 8 * size) - 1))
            return
        (cluster,) = meant
        if space in (Space.RESULT, Space.COUNTER):
            cluster = 0  # of the device
        self._answer = self._memory.get((cluster, space, address), 0)
        if space == Space.IDENTITY:
            known = identity(CONFIG, CLOCK_HZ)
            self._answer = int.from_bytes(known[8 * address :][:8], "little")
        self._offers = False


def golden_device() -> GoldenDevice:
    """A golden device whose runs take a fixed time and do nothing."""
    golden = GoldenDevice(CONFIG, CLOCK_HZ)

    def run(program: int, layers: int, results_at: int) -> None:
        golden.machine.counters[:] = 0
        golden.machine.counters[Counter.CYCLES] = _RUN_CYCLES

    golden.machine.run = run  # type: ignore[method-assign]
    return golden


class Setup:
    """Bench, line and clusters; the golden device beside them."""

    def __init__(self, dut: Any, gap: float) -> None:
        self.bench = Bench(dut, gap)
        self.rng = self.bench.rng
        self.rx, self.tx = self.bench.source("rx"), self.bench.sink("tx")
        self.clusters = Clusters(self.bench, self.tx)
        self.golden = golden_device()
        self.sequence = 0
        self.session = 0

    async def begin(self) -> None:
        await self.bench.reset()
        await self.reset()

    async def reset(self) -> None:
        """Begin a session with a number that none had before."""
        self.session += 1
        first = self.rng.randrange(256)
        self.sequence = first + 1 & 255
        await self.both(b"\0" + encode(struct.pack("<BBH", first, Op.RESET, self.session)))

    async def both(self, line: bytes) -> None:
        """Send `line` and see what the golden device answers."""
        await self.expect(line, self.golden.feed(line))

    async def expect(self, line: bytes, answers: bytes) -> None:
        """Send `line` and see exactly `answers`."""
        self.tx.received.clear()
        self.rx.send(line)
        await self.bench.until(self.tx, len(answers), 60 * (len(line) + len(answers)) + 60_000)
        await self.bench.settle()
        assert self.rx.idle
        assert self.tx.received == planted(list(answers))

    async def quiet(self) -> None:
        """Until nothing has come for longer than a run takes."""
        while not self.rx.idle:
            await self.bench.cycle()
        before = -1
        while before != len(self.tx.received):
            before = len(self.tx.received)
            await self.bench.settle(2 * _RUN_CYCLES)

    def request(self, op: Op, *place: int, data: bytes = b"") -> bytes:
        """A request under the number that is due; `place`: space, cluster, address, count."""
        body = struct.pack("<BBBBHH", self.sequence, op | self.rng.randrange(16) << 4, *place)
        self.sequence = self.sequence + 1 & 255
        return body + data


def access(setup: Setup) -> bytes:
    """A READ, CHECK, WRITE or RUN; right ones mostly, and all that can be wrong with one."""
    rng = setup.rng
    space = rng.choice([*Space, *Space, 6, 255])
    cluster = rng.choice([0, 0, 0, 1, 1, 1, 2, 0xFE, 0xFF])
    depth, size = 64, 4
    if space in list(Space):
        depth, size = space_words(CONFIG)[Space(space)], SPACE_BYTES[Space(space)]
    most = (CONFIG.packet_bytes - 8) // size
    count = rng.choice([0, 1, 2, 5, most - 1, most, most + 1])
    address = rng.choice([0, 1, depth - 1, depth, max(0, depth - count), depth - count + 1])
    address = 0xFFFF if rng.random() < 0.03 else min(max(0, address), 0xFFFF)
    op = rng.choice([Op.READ, Op.CHECK, Op.WRITE, Op.WRITE, Op.RUN])
    data = b""
    if op == Op.WRITE:
        data = rng.randbytes(count * size)
    elif op == Op.RUN:
        most_layers = setup.golden._most_layers
        layers = rng.choice([0, 1, 2, 3, most_layers, most_layers + 1, 0xFFFF])
        runs = rng.choice([0, 1, 1, 2, 3])
        data = struct.pack("<HHHH", rng.randrange(1 << 16), layers, runs, rng.randrange(1 << 16))
    if rng.random() < 0.05:
        data = data[: rng.randrange(len(data) + 1)]
    if rng.random() < 0.05:
        data += rng.randbytes(rng.randrange(1, 9))
    body = setup.request(op, space, cluster, address, count, data=data)
    if rng.random() < 0.05:
        body = body[: rng.randrange(2, len(body) + 1)]
    return body


def odd(setup: Setup) -> bytes:
    """What the queue answers, or an operation that is none."""
    rng = setup.rng
    number = setup.sequence
    return rng.choice(
        [
            bytes([rng.randrange(256), Op.PING | rng.randrange(16) << 4]),
            bytes([number + rng.randrange(2, 255) & 255, Op.READ]) + rng.randbytes(6),
            bytes([number, rng.choice([0, 7, 15])]) + rng.randbytes(6),
            struct.pack("<BBH", rng.randrange(256), Op.RESET, setup.session),
            struct.pack("<BBHB", rng.randrange(256), Op.RESET, setup.session, 0),
            bytes([number]),
            bytes([number, Op.READ]),
            rng.randbytes(rng.randrange(20)),
            bytes([number, Op.WRITE]) + rng.randbytes(CONFIG.queue_bytes),
        ]
    )


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def requests_are_answered_as_by_golden(dut, gap: float) -> None:
    setup = Setup(dut, gap)
    await setup.bench.reset()
    await setup.both(encode(bytes([0, Op.READ, 0, 0, 0, 0, 1, 0])))
    await setup.reset()
    refused = 0
    for _ in range(200):
        kind = setup.rng.choice([access, access, access, odd])
        await setup.both(encode(kind(setup)))
        setup.sequence = setup.golden._expected
        if setup.golden._failed != Status.OK:
            # Whatever follows is answered with the same status.
            refused += 1
            for _ in range(setup.rng.randrange(3)):
                await setup.both(encode(access(setup)))
            await setup.reset()
    assert refused > 30


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def many_at_once_are_answered_in_order(dut, gap: float) -> None:
    setup = Setup(dut, gap)
    await setup.begin()
    rng = setup.rng
    for _ in range(12):
        line = b""
        left = CONFIG.queue_bytes - 1
        while left > 60:
            space, cluster = rng.choice([Space.CODE, Space.ACTIVATION]), rng.randrange(2)
            place = (space, cluster, rng.randrange(9), rng.randrange(1, 5))
            size = place[3] * SPACE_BYTES[space]
            kind = rng.choice([Op.WRITE, Op.READ, Op.CHECK, Op.RUN])
            data = rng.randbytes(size) if kind == Op.WRITE else b""
            if kind == Op.RUN:
                place = (Space.RESULT, 0, 8, 3)
                data = struct.pack("<HHHH", 0, 1, 1, 9)
            body = setup.request(kind, *place, data=data)
            left -= len(body) + 1
            line += encode(body)
        await setup.both(line)


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def whatever_arrives_the_next_good_packet_is_answered(dut, gap: float) -> None:
    setup = Setup(dut, gap)
    await setup.begin()
    rng = setup.rng
    for number in range(40):
        good = encode(access(setup))
        noise = rng.choice(
            [
                rng.randbytes(rng.randrange(1, 400)),
                good[: rng.randrange(len(good))],
                bytes(b ^ (rng.random() < 0.02) << rng.randrange(8) for b in good),
                bytes(rng.randrange(1, 256) for _ in range(rng.randrange(900))),
                good + good[rng.randrange(len(good)) :],
            ]
        )
        # Notices of packets close together become one: the last is looked for.
        setup.tx.received.clear()
        setup.rx.send(noise + b"\0")
        setup.golden.feed(noise + b"\0")
        await setup.quiet()
        await setup.both(encode(bytes([number, Op.PING | 5 << 4])))
        setup.sequence = setup.golden._expected
        if setup.golden._failed != Status.OK:
            await setup.reset()


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def notices_and_resets_during_a_run(dut, gap: float) -> None:
    setup = Setup(dut, gap)
    await setup.begin()
    clusters = setup.clusters

    def run(count: int = 0) -> bytes:
        data = struct.pack("<HHHH", 10, 2, 1, 1)
        return encode(setup.request(Op.RUN, Space.RESULT, 0, 0, count, data=data))

    for _ in range(3):
        number = setup.sequence
        await setup.expect(run(1), encode(struct.pack("<BBI", number, Status.OK, 1000)))
        assert int(dut.program.value) == 10
        assert int(dut.layers.value) == 2
        assert int(dut.results_at.value) == 1
    clusters.run_cycles = 3000
    number = setup.sequence
    before = 3
    line = run() + encode(bytes([77, Op.PING | 9 << 4]))
    version = PROTOCOL_VERSION
    pong = encode(bytes([setup.sequence, Reason.PONG, 9, 77, before, 0, version]))
    await setup.expect(line, pong + encode(bytes([number, Status.OK])))
    # A reset in any cycle of a request, an answer or a run, whatever is queued behind it.
    clusters.run_cycles = 400
    for delay in range(0, 1500, 47):
        line = encode(setup.request(Op.WRITE, Space.CODE, 0, 0, 20, data=setup.rng.randbytes(80)))
        line += run(3) + encode(setup.request(Op.READ, Space.CODE, 0, 0, 40))
        setup.rx.send(line * 2)
        await setup.bench.settle(delay)
        while not setup.rx.idle:
            await setup.bench.cycle()
        setup.session += 1
        setup.tx.received.clear()
        setup.rx.send(b"\0" + encode(struct.pack("<BBH", 5, Op.RESET, setup.session)))
        setup.sequence = 6
        answer = encode(bytes([6, Reason.RESET, 0, 5, 0, 0, version]))
        for _ in range(4000):
            await setup.bench.cycle()
            if bytes(setup.tx.received).endswith(b"\0" + answer):
                break
        else:
            raise AssertionError(f"no answer to a reset after {delay} cycles")
        setup.golden = golden_device()
        setup.golden.feed(encode(struct.pack("<BBH", 5, Op.RESET, setup.session)))
        await setup.both(encode(setup.request(Op.READ, Space.IDENTITY, 0, 0, 8)))
    assert clusters.aborted > 3


@cocotb.test()
async def data_moves_at_less_than_four_cycles_a_byte(dut) -> None:
    setup = Setup(dut, 0.0)
    await setup.begin()
    # Values without zeros, so that the frames' overhead is one byte.
    data = bytes(range(1, 185))
    begin = setup.bench.cycles
    bodies = [
        setup.request(Op.WRITE, Space.ACTIVATION, 0xFF, 0x101, 23, data=data) for _ in range(20)
    ]
    line = b"".join(map(encode, bodies))
    answers = b"".join(encode(bytes([body[0], Status.OK])) for body in bodies)
    await setup.expect(line, answers)
    assert setup.bench.cycles - begin - 40 <= 3.5 * len(line)
    begin = setup.bench.cycles
    read = encode(setup.request(Op.READ, Space.ACTIVATION, 1, 0x101, 23))
    answer = encode(bytes([setup.sequence - 1 & 255, Status.OK]) + data)
    await setup.expect(read, answer)
    assert setup.bench.cycles - begin - 40 <= 3.5 * (len(read) + len(answer)) + 40
