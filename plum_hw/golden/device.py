"""The device's end of the link on top of the golden machine: the same bytes in, the same out."""

from __future__ import annotations

import struct

from plum_host.packets import encode
from plum_hw.config import ArrayConfig
from plum_hw.golden.deframer import Deframer
from plum_hw.golden.machine import Machine
from plum_hw.layouts import (
    BROADCAST,
    READ_ONLY_SPACES,
    SPACE_BYTES,
    Counter,
    Op,
    Space,
    Status,
    identity,
    layer_layout,
    space_words,
)

_HEADER_BYTES = 2
_WRITE_ARGUMENTS = struct.Struct("<BBI")  # space, cluster, address
_READ_ARGUMENTS = struct.Struct("<BBIH")  # space, cluster, address, words
_RUN_ARGUMENTS = struct.Struct("<HH")  # program address, layers


class _RefusedError(Exception):
    """A request that is answered with a status and nothing else."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


class GoldenDevice:
    """Answers requests as the gateware does, in the order of checks that its reader has.

    A run is over when RUN has been answered, so it is never BUSY. A program that no compiler makes
    is answered ABORTED; the gateware would run it until it is told to stop.

    Parameters
    ----------
    config : ArrayConfig
    """

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        self.machine = Machine(config)
        self._deframer = Deframer(config.packet_bytes)
        self._words = space_words(config)

    def feed(self, data: bytes) -> bytes:
        """Bytes that the device sends in answer to these."""
        answers = []
        for frame in self._deframer.feed(data):
            if frame.good:
                answers.append(self._answer(frame.body))
            else:
                answers.append((frame.body or b"\0") + bytes([Status.BAD_CRC]))
        return b"".join(encode(answer) for answer in answers)

    def _answer(self, body: bytes) -> bytes:
        sequence = body[:1] or b"\0"
        try:
            if len(body) < _HEADER_BYTES:
                raise _RefusedError(Status.BAD_LENGTH)
            payload = self._serve(body[1], body[_HEADER_BYTES:])
        except _RefusedError as refused:
            return sequence + bytes([refused.status])
        return sequence + bytes([Status.OK]) + payload

    def _serve(self, op: int, arguments: bytes) -> bytes:
        match op:
            case Op.IDENTIFY:
                _require(not arguments, Status.BAD_LENGTH)
                return identity(self.config)
            case Op.WRITE:
                return self._write(arguments)
            case Op.READ:
                return self._read(arguments)
            case Op.RUN:
                return self._run(arguments)
            case Op.ABORT:
                _require(not arguments, Status.BAD_LENGTH)
                return b""
        raise _RefusedError(Status.BAD_OP)

    def _write(self, arguments: bytes) -> bytes:
        _require(len(arguments) >= _WRITE_ARGUMENTS.size, Status.BAD_LENGTH)
        number, cluster, address = _WRITE_ARGUMENTS.unpack_from(arguments)
        data = arguments[_WRITE_ARGUMENTS.size :]
        space = self._space(number)
        _require(space not in READ_ONLY_SPACES, Status.BAD_ADDRESS)
        _require(cluster == BROADCAST or cluster < self.config.clusters, Status.BAD_ADDRESS)
        _require(len(data) % SPACE_BYTES[space] == 0, Status.BAD_LENGTH)
        self._require_range(space, address, len(data) // SPACE_BYTES[space])
        self.machine.write(space, address, data, None if cluster == BROADCAST else cluster)
        return b""

    def _read(self, arguments: bytes) -> bytes:
        _require(len(arguments) == _READ_ARGUMENTS.size, Status.BAD_LENGTH)
        number, cluster, address, count = _READ_ARGUMENTS.unpack(arguments)
        space = self._space(number)
        _require(cluster < self.config.clusters, Status.BAD_ADDRESS)
        room = self.config.packet_bytes - _HEADER_BYTES
        _require(count * SPACE_BYTES[space] <= room, Status.BAD_LENGTH)
        self._require_range(space, address, count)
        return self.machine.read(space, address, count, cluster)

    def _run(self, arguments: bytes) -> bytes:
        _require(len(arguments) == _RUN_ARGUMENTS.size, Status.BAD_LENGTH)
        program, layers = _RUN_ARGUMENTS.unpack(arguments)
        _require(layers > 0, Status.BAD_ADDRESS)
        self._require_range(Space.CODE, program, layers * layer_layout(self.config).words)
        try:
            self.machine.run(program, layers)
        except Exception:
            # A device that is given nonsense does not fall over; what the model does with a program
            # that no compiler makes is of no interest.
            raise _RefusedError(Status.ABORTED) from None
        cycles = int(self.machine.counters[Counter.CYCLES])
        return struct.pack("<IH", cycles, self.machine.result_count)

    def _space(self, number: int) -> Space:
        _require(number in self._words, Status.BAD_ADDRESS)
        return Space(number)

    def _require_range(self, space: Space, address: int, count: int) -> None:
        _require(address + count <= self._words[space], Status.BAD_ADDRESS)


def _require(condition: bool, status: Status) -> None:
    if not condition:
        raise _RefusedError(status)
