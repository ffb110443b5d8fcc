"""Requests to a device and their answers: checked, and retried where they were lost."""

from __future__ import annotations

import struct
import time
from collections.abc import Collection
from dataclasses import dataclass

from plum_host.errors import DeviceBusyError, DeviceTimeoutError, ProtocolError, TransportError
from plum_host.protocol import (
    MAGIC,
    MAX_PACKET_BYTES,
    PROTOCOL_VERSION,
    SPACE_BYTES,
    Counter,
    Op,
    Space,
    Status,
)
from plum_host.transports.base import DamagedPacketError, Transport

_ATTEMPTS = 4
_WRITE_HEADER = struct.Struct("<BBI")  # space, cluster, address
_READ_ARGUMENTS = struct.Struct("<BBIH")  # space, cluster, address, words
_RUN_ARGUMENTS = struct.Struct("<HH")  # program address, layers
_RUN_PAYLOAD = struct.Struct("<IH")  # cycles, results
_IDENTITY = struct.Struct("<4sBB16sH")


class RunLostError(ProtocolError):
    """The device is idle and the answer to RUN has not come: the run must be set up again."""


@dataclass(frozen=True)
class Identity:
    """What a device says about itself."""

    clusters: int
    digest: str  # of its array configuration, as `ArrayConfig.digest`
    packet_bytes: int


@dataclass(frozen=True)
class _Answer:
    sequence: int
    status: Status
    payload: bytes


class DeviceClient:
    """The protocol's requests as methods.

    After an error the next request first brings the device back to a known state (whatever it runs
    is aborted), so that nothing needs a restart.

    Parameters
    ----------
    transport : the way to the device
    timeout : seconds to wait for one answer; a request is sent up to four times
    """

    def __init__(self, transport: Transport, timeout: float) -> None:
        self.transport = transport
        self._timeout = timeout
        self._sequence = 0
        self._packet_bytes = 64  # what every device takes, until this one was asked
        self._unsure = True

    def identify(self) -> Identity:
        """Ask the device what it is."""
        payload = self._request(Op.IDENTIFY)
        if len(payload) != _IDENTITY.size or not payload.startswith(MAGIC):
            raise ProtocolError(f"{self.transport.name}: not a plum device: it says {payload!r}")
        _, version, clusters, digest, packet_bytes = _IDENTITY.unpack(payload)
        if version != PROTOCOL_VERSION:
            raise ProtocolError(
                f"{self.transport.name}: the device speaks protocol version {version}; "
                f"this program speaks {PROTOCOL_VERSION}"
            )
        if not 64 <= packet_bytes <= MAX_PACKET_BYTES:
            raise ProtocolError(
                f"{self.transport.name}: the device takes packets of {packet_bytes} bytes; "
                f"it must be 64 to {MAX_PACKET_BYTES}"
            )
        self._packet_bytes = packet_bytes
        return Identity(clusters, digest.hex(), packet_bytes)

    def write(self, space: Space, cluster: int, address: int, data: bytes) -> None:
        """Write whole words from `address` on, in as many packets as it takes."""
        word = SPACE_BYTES[space]
        step = (self._packet_bytes - 2 - _WRITE_HEADER.size) // word
        for start in range(0, len(data), step * word):
            header = _WRITE_HEADER.pack(space, cluster, address + start // word)
            self._request(Op.WRITE, header + data[start : start + step * word])

    def read(self, space: Space, cluster: int, address: int, count: int) -> bytes:
        """Read `count` words from `address` on, in as many packets as it takes."""
        word = SPACE_BYTES[space]
        step = (self._packet_bytes - 2) // word
        parts = []
        for start in range(0, count, step):
            words = min(step, count - start)
            arguments = _READ_ARGUMENTS.pack(space, cluster, address + start, words)
            part = self._request(Op.READ, arguments)
            if len(part) != words * word:
                raise ProtocolError(
                    f"{self.transport.name}: READ of {words} words of {space.name} was answered "
                    f"with {len(part)} bytes instead of {words * word}"
                )
            parts.append(part)
        return b"".join(parts)

    def run(self, program: int, layers: int, limit: float) -> int:
        """Run a program to its end; the cycles it took.

        RUN is never repeated blindly, for a run overwrites its own input: where its answer stays
        out, the device is asked whether it is still at work.

        Raises
        ------
        RunLostError : the request or its answer was lost
        DeviceTimeoutError : the run did not end in `limit` seconds; it is aborted
        """
        self._settle()
        self._unsure = True
        end = time.monotonic() + limit
        sequence = self._send(Op.RUN, _RUN_ARGUMENTS.pack(program, layers))
        answer: _Answer | None = None
        while answer is None:
            now = time.monotonic()
            if now >= end:
                self.recover()
                raise DeviceTimeoutError(
                    f"{self.transport.name}: the run did not end within {limit:g} s; it was aborted"
                )
            try:
                answer = self._receive({sequence}, min(now + self._timeout, end))
            except (DeviceTimeoutError, DamagedPacketError):
                answer = self._ask_after_run(sequence)
        self._unsure = False
        payload = self._checked(Op.RUN, answer)
        if len(payload) != _RUN_PAYLOAD.size:
            raise ProtocolError(
                f"{self.transport.name}: RUN was answered with {len(payload)} bytes instead of "
                f"{_RUN_PAYLOAD.size}"
            )
        cycles, _ = _RUN_PAYLOAD.unpack(payload)
        return cycles

    def recover(self) -> None:
        """Bring the device to a known state: nothing half received, no run in progress."""
        self._unsure = False
        try:
            self.transport.resync()
            self._request(Op.ABORT)
        except BaseException:
            self._unsure = True
            raise

    def close(self) -> None:
        """Give the device free, with no run of ours left on it if it can be helped."""
        try:
            if self._unsure:
                self._timeout = min(self._timeout, 0.5)
                self.recover()
        except (TransportError, ProtocolError):
            pass  # the device is gone; whoever opens it next aborts again
        finally:
            self.transport.close()

    # ---- one exchange ----------------------------------------------------------------------------

    def _settle(self) -> None:
        if self._unsure:
            self.recover()

    def _request(self, op: Op, arguments: bytes = b"") -> bytes:
        """Payload of the answer; the request may be carried out more than once."""
        self._settle()
        self._unsure = True
        for _ in range(_ATTEMPTS):
            sequence = self._send(op, arguments)
            try:
                answer = self._receive({sequence}, time.monotonic() + self._timeout)
            except (DeviceTimeoutError, DamagedPacketError):
                self.transport.resync()
                continue
            self._unsure = False
            return self._checked(op, answer)
        raise self._silent(op)

    def _ask_after_run(self, run: int) -> _Answer | None:
        """Is the run still going? None if so; its answer if that comes meanwhile."""
        for _ in range(_ATTEMPTS):
            ask = self._send(Op.READ, _READ_ARGUMENTS.pack(Space.COUNTER, 0, Counter.CYCLES, 1))
            try:
                answer = self._receive({run, ask}, time.monotonic() + self._timeout)
            except (DeviceTimeoutError, DamagedPacketError):
                continue
            if answer.sequence == run:
                return answer
            if answer.status == Status.BUSY:
                return None
            self._unsure = False
            raise RunLostError(f"{self.transport.name}: the answer to RUN was lost")
        raise self._silent(Op.RUN)

    def _silent(self, op: Op) -> DeviceTimeoutError:
        return DeviceTimeoutError(
            f"{self.transport.name}: no good answer to {op.name} in {_ATTEMPTS} attempts of "
            f"{self._timeout:g} s: the device is not there, hangs, or has another line rate"
        )

    def _send(self, op: Op, arguments: bytes) -> int:
        """Send a request under a number of its own, so that late answers are told apart."""
        self._sequence = (self._sequence + 1) & 0xFF
        self.transport.send(bytes([self._sequence, op]) + arguments)
        return self._sequence

    def _receive(self, wanted: Collection[int], deadline: float) -> _Answer:
        """The answer to one of our requests; late answers to earlier ones are dropped."""
        while True:
            body = self.transport.receive(deadline)
            if len(body) < 2 or body[1] not in list(Status):
                raise DamagedPacketError(f"{self.transport.name}: not an answer: {body[:16]!r}")
            answer = _Answer(body[0], Status(body[1]), body[2:])
            if answer.status == Status.BAD_CRC:
                # Its sequence number may be what was damaged.
                raise DamagedPacketError(f"{self.transport.name}: a request arrived damaged")
            if answer.sequence in wanted:
                return answer

    def _checked(self, op: Op, answer: _Answer) -> bytes:
        if answer.status == Status.OK:
            return answer.payload
        if answer.status == Status.BUSY:
            raise DeviceBusyError(f"{self.transport.name}: {op.name}: a run is in progress")
        raise ProtocolError(f"{self.transport.name}: {op.name} was refused: {answer.status.name}")
