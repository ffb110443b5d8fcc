"""The device's end of framing, byte by byte, as the gateware does it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

_CRC_BYTES = 4


@dataclass(frozen=True)
class Frame:
    """One frame that ended: a body whose CRC is right, or the first byte of a damaged packet."""

    good: bool
    body: bytes


class Deframer:
    """COBS decoder and packet receiver of a device.

    Unlike a decoder of whole frames it knows what a damaged frame began with, which the device
    answers BAD_CRC with. Holds at most one packet.

    Parameters
    ----------
    packet_bytes : longest body
    """

    def __init__(self, packet_bytes: int) -> None:
        self._limit = packet_bytes + _CRC_BYTES
        self._begin()

    def _begin(self) -> None:
        self._packet = bytearray()
        self._left = 0
        self._zero_follows = False
        self._too_long = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes."""
        frames = []
        for byte in data:
            if byte == 0:
                if frame := self._finish():
                    frames.append(frame)
                self._begin()
            elif self._left:
                self._left -= 1
                self._append(byte)
            else:
                if self._zero_follows:
                    self._append(0)
                self._left = byte - 1
                self._zero_follows = byte != 0xFF
        return frames

    def _append(self, byte: int) -> None:
        if len(self._packet) == self._limit:
            self._too_long = True
        else:
            self._packet.append(byte)

    def _finish(self) -> Frame | None:
        packet = bytes(self._packet)
        if not packet and not self._left:
            return None
        body, crc = packet[:-_CRC_BYTES], packet[-_CRC_BYTES:]
        whole = not self._left and not self._too_long and len(crc) == _CRC_BYTES
        if whole and zlib.crc32(body).to_bytes(_CRC_BYTES, "little") == crc:
            return Frame(True, body)
        return Frame(False, packet[:1])
