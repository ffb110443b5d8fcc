"""RequestQueue: the right packets in the right order come through, all others become notices."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import cocotb

from plum_hw.layouts import Op, Reason
from rtl_tests.link.packets import BAD, END, packet, random_body
from rtl_tests.streams import Bench, Sink, planted

DEPTH = 512  # the component is built for a ring of that size


def checked(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def reset_body(sequence: int, session: int, tag: int = 0) -> bytes:
    return bytes([sequence, Op.RESET | tag << 4]) + session.to_bytes(2, "little")


@dataclass
class Model:
    """What the queue must do with the packets that it is given one after the other."""

    expected: int = 0
    session: int | None = None

    def judge(self, body: bytes, whole: bool, room: int) -> Reason | None:
        """Reason of the notice; None where the body is queued."""
        op = body[1] & 15 if len(body) > 1 else None
        if not whole or len(body) < 2 or (op == Op.RESET and len(body) != 4):
            return Reason.DAMAGED
        if op == Op.RESET:
            session = int.from_bytes(body[2:4], "little")
            if session != self.session:
                self.session, self.expected = session, (body[0] + 1) & 255
            return Reason.RESET
        if op == Op.PING:
            return Reason.PONG
        if self.session is None:
            return Reason.CLOSED
        if body[0] != self.expected:
            return Reason.GAP
        if len(body) + 1 > room:
            return Reason.FULL
        self.expected = (self.expected + 1) & 255
        return None


class Notices:
    """Takes what the queue has to tell, and allows for its resets."""

    def __init__(self, dut: Any, sink: Sink) -> None:
        self._dut, self._sink = dut, sink
        self._takes = False
        self.received: list[int] = []
        dut.take.value = 0

    def drive(self) -> None:
        self._takes = not int(self._dut.told.value) and not self._takes
        self._dut.take.value = self._takes

    def sample(self) -> None:
        if self._takes:
            self.received.append(int(self._dut.notice.value))
        if int(self._dut.reset.value):
            self._sink.forget()


class Setup:
    """The bench, and a packet at a time."""

    def __init__(self, dut: Any, gap: float) -> None:
        self.bench = Bench(dut, gap)
        self.dut, self.rng = dut, self.bench.rng
        self.source = self.bench.source("i")
        self.sink = self.bench.sink("o")
        self.notices = Notices(dut, self.sink)
        self.bench.parts.append(self.notices)
        self.model = Model()
        self.expected: list[int] = []

    async def give(self, body: bytes, mark: int = END, *, spoil: bool = False, room: int) -> None:
        """Send a packet, and see that it is queued or told about."""
        content = checked(body)
        if spoil:
            place = self.rng.randrange(len(content))
            content = bytes(
                b ^ (i == place) << self.rng.randrange(8) for i, b in enumerate(content)
            )
        before = self.model.session
        reason = self.model.judge(body, mark == END and not spoil, room)
        self.notices.received.clear()
        self.source.send(packet(content, mark))
        while not self.source.idle:
            await self.bench.cycle()
        await self.bench.settle(30)
        if reason is None:
            self.expected += packet(body)
            assert not self.notices.received
            return
        if reason == Reason.RESET and before != self.model.session:
            self.sink.received.clear()
            self.expected.clear()
        (told,) = self.notices.received
        assert told & 7 == reason & 7, (reason, told & 7)
        if reason != Reason.DAMAGED:
            assert told >> 3 & 15 == body[1] >> 4
            assert told >> 7 == body[0]
        assert int(self.dut.expected.value) == self.model.expected

    def body(self, kind: str) -> bytes:
        """A body of some kind; its first byte is the number that is due, mostly."""
        rng, due = self.rng, self.model.expected
        tag = rng.randrange(16)
        match kind:
            case "reset":
                return reset_body(rng.randrange(256), rng.randrange(1, 4), tag)
            case "ping":
                return bytes([rng.randrange(256), Op.PING | tag << 4]) + rng.randbytes(3)
            case "early":
                return bytes([due + rng.randrange(1, 9) & 255, Op.READ | tag << 4, 1])
            case "again":
                return bytes([due - 1 & 255, Op.WRITE | tag << 4, 1])
            case "short":
                return rng.randbytes(rng.randrange(2))
            case "long":
                return bytes([due, Op.WRITE]) + bytes(DEPTH + rng.randrange(9))
        return bytes([due, Op.WRITE | tag << 4]) + random_body(rng, DEPTH // 2)


KINDS = ("good",) * 6 + ("reset", "ping", "early", "again", "short", "long")


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def what_is_taken_up_and_what_is_told(dut, gap: float) -> None:
    setup = Setup(dut, gap)
    await setup.bench.reset()
    rng = setup.rng
    for number in range(150):
        kind = "early" if not number else rng.choice(KINDS)
        mark = BAD if rng.random() < 0.05 else END
        await setup.give(setup.body(kind), mark, spoil=rng.random() < 0.1, room=DEPTH - 1)
    await setup.give(reset_body(3, 77), room=DEPTH - 1)
    await setup.give(setup.body("good"), room=DEPTH - 1)
    # Symbols leave two cycles apart, and not sooner.
    await setup.bench.settle(6 * DEPTH)
    received = [END << 8 if symbol >> 8 == END else symbol for symbol in setup.sink.received]
    assert received == planted(setup.expected)


@cocotb.test()
async def a_full_ring_takes_no_more_and_is_reset(dut) -> None:
    """Nothing leaves: bodies are queued as long as there is room, to the last place."""
    setup = Setup(dut, 0.0)
    setup.bench.parts.remove(setup.sink)
    dut.o__ready.value = 0
    await setup.bench.reset()
    rng = setup.rng
    for session in range(1, 6):
        await setup.give(reset_body(rng.randrange(256), session), room=0)
        room = DEPTH - 1
        while room:
            size = min(rng.randrange(2, 90), room - 1)
            body = bytes([setup.model.expected, Op.WRITE]) + rng.randbytes(size - 2)
            if size < 2:
                break
            await setup.give(body, room=room)
            room -= size + 1
            too_long = bytes([setup.model.expected, Op.WRITE]) + rng.randbytes(room)
            await setup.give(too_long, room=room)
            await setup.give(bytes([0, Op.PING]), room=room)


@cocotb.test()
async def two_cycles_a_byte_in_and_out(dut) -> None:
    setup = Setup(dut, 0.0)
    await setup.bench.reset()
    await setup.give(reset_body(0, 9), room=DEPTH - 1)
    bodies = [
        bytes([number, Op.WRITE]) + bytes(setup.rng.randrange(256) for _ in range(200))
        for number in range(1, 20)
    ]
    begin = setup.bench.cycles
    for body in bodies:
        setup.source.send(packet(checked(body)))
    expected = [symbol for body in bodies for symbol in packet(body)]
    await setup.bench.until(setup.sink, len(expected), 10_000)
    taken = setup.bench.cycles - begin
    # Two cycles for each byte and for END with what follows it; the last body then has to leave.
    assert taken <= sum(2 * (len(body) + 4) + 3 for body in bodies) + 2 * 203 + 4
    assert [END << 8 if s >> 8 == END else s for s in setup.sink.received] == expected
