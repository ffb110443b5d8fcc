"""The device's end of the link on top of the golden machine: the same bytes in, the same out."""

from __future__ import annotations

import struct

from plum_host.packets import encode
from plum_hw.config import ArrayConfig
from plum_hw.golden.deframer import Deframer, Frame
from plum_hw.golden.machine import Machine
from plum_hw.layouts import (
    BROADCAST,
    PROTOCOL_VERSION,
    READ_ONLY_SPACES,
    SPACE_BYTES,
    WRITE_ONLY_SPACES,
    Counter,
    Op,
    Reason,
    Space,
    Status,
    identity,
    layer_layout,
    space_words,
)

_CRC_BYTES = 4
_HEADER = struct.Struct("<BBBBHH")  # sequence, opcode, space, cluster, address, count
_RUN = struct.Struct("<HHHH")  # program address, layers, runs, place of the results
_LEAST_BYTES = 2
_RESET_BYTES = 4
_MOST_RUNS = 1 << 15


class _RefusedError(Exception):
    """A request that is answered with a status and nothing else."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


class GoldenDevice:
    """Answers as the gateware does, in the order of checks that it has.

    A request has been served when `feed` returns, so the queue is always empty. A program that no
    compiler makes leaves its results as they were; the gateware would run it until a RESET.

    Parameters
    ----------
    config : ArrayConfig
    clock_hz : as the gateware is told
    """

    def __init__(self, config: ArrayConfig, clock_hz: int = 0) -> None:
        self.config = config
        self.machine = Machine(config)
        #: What was written to LINE: the model has no line of its own.
        self.line_rates: list[int] = []
        #: Cycles that all runs took so far.
        self.run_cycles = 0
        self._identity = identity(config, clock_hz)
        # The ring is full with one place empty, and a body takes a place more than its bytes.
        self._deframer = Deframer(config.queue_bytes - 2)
        self._words = space_words(config)
        self._most_layers = config.program_depth // layer_layout(config).words
        self._session: int | None = None
        self._expected = 0
        self._tag = 0
        self._answered = 0
        self._failed = Status.OK
        self._begun = False  # the byte that follows power-up was sent

    def feed(self, data: bytes) -> bytes:
        """Bytes that the device sends in answer to these."""
        answer = b"".join(self._receive(frame) for frame in self._deframer.feed(data))
        if not self._begun:
            self._begun = True
            return b"\0" + answer
        return answer

    # ---- the queue -------------------------------------------------------------------------------

    def _receive(self, frame: Frame) -> bytes:
        got, op, tag = frame.head[0], frame.head[1] & 15, frame.head[1] >> 4
        size = frame.packet_bytes - _CRC_BYTES
        sized = size == _RESET_BYTES if op == Op.RESET else size >= _LEAST_BYTES
        if not frame.intact or not sized:
            return self._notice(Reason.DAMAGED, got)
        self._tag = tag
        if op == Op.RESET:
            return self._reset(got, int.from_bytes(frame.head[2:], "little"))
        if op == Op.PING:
            return self._notice(Reason.PONG, got)
        if self._session is None:
            return self._notice(Reason.CLOSED, got)
        if got != self._expected:
            return self._notice(Reason.GAP, got)
        if frame.body is None:
            return self._notice(Reason.FULL, got)
        self._expected = (got + 1) & 0xFF
        answer = self._execute(frame.body)
        self._answered = (self._answered + 1) & 0xFF
        return answer

    def _reset(self, sequence: int, session: int) -> bytes:
        if session == self._session:
            return self._notice(Reason.RESET, sequence)
        self._session = session
        self._expected = (sequence + 1) & 0xFF
        self._answered = 0
        self._failed = Status.OK
        return b"\0" + self._notice(Reason.RESET, sequence)

    def _notice(self, reason: Reason, got: int) -> bytes:
        fields = [self._expected, reason, self._tag, got, self._answered, self._failed]
        return encode(bytes([*fields, PROTOCOL_VERSION]))

    # ---- requests --------------------------------------------------------------------------------

    def _execute(self, body: bytes) -> bytes:
        payload = b""
        if self._failed == Status.OK:
            try:
                payload = self._serve(body)
            except _RefusedError as refused:
                self._failed = refused.status
        answer = body[:1] + bytes([self._failed])
        if body[1] & 15 == Op.CHECK:
            return encode(answer, hidden=payload)
        return encode(answer + payload)

    def _serve(self, body: bytes) -> bytes:
        op = body[1] & 15
        _require(Op.READ <= op <= Op.RUN, Status.BAD_OP)
        _require(len(body) >= _HEADER.size, Status.BAD_LENGTH)
        _, _, number, cluster, address, count = _HEADER.unpack_from(body)
        data = body[_HEADER.size :]
        broadcast = op == Op.WRITE and cluster == BROADCAST
        _require(number in self._words, Status.BAD_ADDRESS)
        space = Space(number)
        _require(op != Op.WRITE or space not in READ_ONLY_SPACES, Status.BAD_ADDRESS)
        _require(op == Op.WRITE or space not in WRITE_ONLY_SPACES, Status.BAD_ADDRESS)
        _require(broadcast or cluster < self.config.clusters, Status.BAD_ADDRESS)
        _require(address + count <= self._words[space], Status.BAD_ADDRESS)
        if op == Op.WRITE:
            self._write(space, None if broadcast else cluster, address, count, data)
            return b""
        if op == Op.RUN:
            self._run(data)
        else:
            _require(not data, Status.BAD_LENGTH)
        return self._read(space, address, count, cluster)

    def _write(
        self, space: Space, cluster: int | None, address: int, count: int, data: bytes
    ) -> None:
        size = SPACE_BYTES[space]
        whole = min(len(data) // size, count)
        if space == Space.LINE:
            self.line_rates += [int.from_bytes(data[:size], "little")] * whole
        else:
            self.machine.write(space, address, data[: whole * size], cluster)
        _require(len(data) == count * size, Status.BAD_LENGTH)

    def _read(self, space: Space, address: int, count: int, cluster: int) -> bytes:
        if space == Space.IDENTITY:
            size = SPACE_BYTES[space]
            return self._identity[address * size : (address + count) * size]
        return self.machine.read(space, address, count, cluster)

    def _run(self, data: bytes) -> None:
        _require(len(data) == _RUN.size, Status.BAD_LENGTH)
        program, layers, runs, results_at = _RUN.unpack(data)
        _require(0 < layers <= self._most_layers, Status.BAD_ADDRESS)
        for _ in range(runs if 0 < runs <= _MOST_RUNS else 1):
            try:
                self.machine.run(program, layers, results_at)
            except Exception:
                # A device that is given nonsense does not fall over; what the model does with a
                # program that no compiler makes is of no interest.
                break
            self.run_cycles += int(self.machine.counters[Counter.CYCLES])
        self.machine.keep_cycles(results_at)


def _require(condition: bool, status: Status) -> None:
    if not condition:
        raise _RefusedError(status)
