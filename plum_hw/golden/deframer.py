"""The device's end of framing, as the gateware does it: any bytes, in pieces of any size."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

_CRC_BYTES = 4
#: CRC-32 of anything with its own CRC-32 behind it.
_RESIDUE = 0x2144DF1C


@dataclass(frozen=True)
class Frame:
    """One frame that ended.

    intact : it decodes and its CRC is right
    packet_bytes : with the checksum
    body : without it; None where it is longer than the device can queue
    head : what the device remembers as the first four bytes; where the packet was shorter, it
        begins with bytes of packets before
    """

    intact: bool
    packet_bytes: int
    body: bytes | None
    head: bytes


class Deframer:
    """COBS decoder and checksum of a device. Holds at most one body.

    Parameters
    ----------
    body_bytes : longest body that is kept
    """

    def __init__(self, body_bytes: int) -> None:
        self._limit = body_bytes + _CRC_BYTES
        self._head = bytes(4)
        self._begin()

    def _begin(self) -> None:
        self._packet = bytearray()  # its first `_limit` bytes
        self._length = 0
        self._crc = 0
        self._left = 0  # bytes to come in this block
        self._zero_follows = False
        self._started = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes."""
        frames = []
        *ended, rest = data.split(b"\0")
        for piece in ended:
            self._decode(piece)
            if frame := self._finish():
                frames.append(frame)
            self._begin()
        self._decode(rest)
        return frames

    def _decode(self, piece: bytes) -> None:
        at = 0
        self._started |= bool(piece)
        while at < len(piece):
            if self._left:
                taken = piece[at : at + self._left]
                self._append(taken)
                self._left -= len(taken)
                at += len(taken)
            else:
                if self._zero_follows:
                    self._append(b"\0")
                self._left = piece[at] - 1
                self._zero_follows = piece[at] != 0xFF
                at += 1

    def _append(self, data: bytes) -> None:
        if self._length < 4:
            self._head = (self._head + data[: 4 - self._length])[-4:]
        self._crc = zlib.crc32(data, self._crc)
        self._length += len(data)
        self._packet += data[: self._limit - len(self._packet)]

    def _finish(self) -> Frame | None:
        if not self._started or (not self._length and not self._left):
            return None
        intact = not self._left and self._crc == _RESIDUE
        too_long = self._length > self._limit
        body = None if too_long else bytes(self._packet[:-_CRC_BYTES])
        return Frame(intact, self._length, body, self._head)
