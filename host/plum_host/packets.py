"""Packets of the link: a body with its CRC-32, in a COBS frame that a 0x00 ends."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from cobs import cobs

_CRC_BYTES = 4
END = b"\0"


def encode(body: bytes, hidden: bytes = b"") -> bytes:
    """Bytes of the line for one body; ``hidden`` goes into the checksum behind it and nowhere else,
    as with the answer to CHECK.
    """
    return cobs.encode(body + checksum(body + hidden)) + END


def checksum(data: bytes) -> bytes:
    """CRC-32 as a packet ends with it."""
    return zlib.crc32(data).to_bytes(_CRC_BYTES, "little")


@dataclass(frozen=True)
class Damaged:
    """A packet whose checksum is wrong: what was decoded of it, nothing if that was impossible."""

    packet: bytes


def decode(frame: bytes) -> bytes | Damaged:
    """Body of a frame without its 0x00."""
    try:
        packet = cobs.decode(frame)
    except cobs.DecodeError:
        return Damaged(b"")
    body = packet[:-_CRC_BYTES]
    return body if checksum(body) == packet[-_CRC_BYTES:] else Damaged(packet)


def frame_bytes(body_bytes: int) -> int:
    """Most bytes of the line that a body of that size can take, the closing 0x00 included."""
    packet = body_bytes + _CRC_BYTES
    return packet + max(1, -(-packet // 254)) + len(END)


class PacketParser:
    """Cuts a stream of bytes into packets; holds no more than one packet of the largest size.

    Parameters
    ----------
    packet_bytes : largest body that may come
    """

    def __init__(self, packet_bytes: int) -> None:
        self._limit = frame_bytes(packet_bytes) - len(END)
        self._frame = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> list[bytes | Damaged]:
        """The packets that `data` completes, in order."""
        packets: list[bytes | Damaged] = []
        *ended, rest = data.split(END)
        for piece in ended:
            self._append(piece)
            if self._too_long:
                packets.append(Damaged(b""))
            elif self._frame:
                packets.append(decode(bytes(self._frame)))
            self.clear()
        self._append(rest)
        return packets

    def clear(self) -> None:
        """Forget the packet that is half received."""
        self._frame.clear()
        self._too_long = False

    def _append(self, piece: bytes) -> None:
        if len(self._frame) + len(piece) > self._limit:
            self._too_long = True
            self._frame.clear()
        elif not self._too_long:
            self._frame += piece
