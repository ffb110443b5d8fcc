"""Packets in UDP datagrams, and what these cost on an Ethernet."""

from __future__ import annotations

#: Longest datagram that travels whole: 1,500 bytes less the headers of IPv4 and UDP.
MOST_BYTES = 1472
#: Largest body of a packet of which two make a datagram: 732 bytes with checksum, in 736 of line.
PACKET_BYTES = 728
#: Bytes of a frame beside the datagram. Ref: IEEE 802.3 clause 3: preamble, addresses and type,
#: check; 4.4.2: gap; RFC 791, RFC 768: headers.
_OVERHEAD = 8 + 14 + 20 + 8 + 4 + 12
#: Ref: IEEE 802.3, 3.2.8: a frame has at least 64 bytes, to which preamble and gap come.
_LEAST = 64 + 8 + 12


def wire_bytes(size: int) -> int:
    """Byte times of the line that a datagram of `size` bytes takes."""
    return max(_LEAST, size + _OVERHEAD)


class Gatherer:
    """Puts packets together, as many as travel whole in one datagram."""

    def __init__(self) -> None:
        self._held = b""

    def add(self, packet: bytes) -> list[bytes]:
        """One more packet, framed; the datagrams that are full now."""
        full = []
        if self._held and len(self._held) + len(packet) > MOST_BYTES:
            full = self.flush()
        self._held += packet
        return full

    def flush(self) -> list[bytes]:
        """What has not been sent: a datagram, or none."""
        held, self._held = self._held, b""
        return [held] if held else []
