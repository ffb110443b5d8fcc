"""Packets of the link: a body with its CRC-32, in a COBS frame that a 0x00 ends."""

from __future__ import annotations

import zlib

from cobs import cobs

_CRC_BYTES = 4
END = b"\0"


def encode(body: bytes) -> bytes:
    """Bytes of the line for one body."""
    return cobs.encode(body + zlib.crc32(body).to_bytes(_CRC_BYTES, "little")) + END


def decode(frame: bytes) -> bytes | None:
    """Body of a frame without its 0x00, or None where the frame is damaged."""
    try:
        packet = cobs.decode(frame)
    except cobs.DecodeError:
        return None
    body, checksum = packet[:-_CRC_BYTES], packet[-_CRC_BYTES:]
    if zlib.crc32(body).to_bytes(_CRC_BYTES, "little") != checksum:
        return None
    return body


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

    def feed(self, data: bytes) -> list[bytes | None]:
        """The packets that `data` completes, in order; None for each damaged one."""
        packets: list[bytes | None] = []
        *ended, rest = data.split(END)
        for piece in ended:
            self._append(piece)
            if self._too_long:
                packets.append(None)
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
