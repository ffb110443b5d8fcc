"""Ethernet frames as a network has them, written apart from the core that is tested.

Ref: IEEE 802.3 clause 3; RFC 826 (ARP); RFC 791 (IPv4); RFC 768 (UDP); RFC 792 (ICMP).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

PREAMBLE = b"\x55" * 7 + b"\xd5"
BROADCAST = b"\xff" * 6
ARP, IPV4 = 0x0806, 0x0800
REQUEST, REPLY = 1, 2
ICMP, UDP = 1, 17
_LEAST = 60  # bytes of a frame without its check


def framed(to: bytes, sender: bytes, kind: int, content: bytes) -> bytes:
    """A frame from its first address to its check."""
    frame = (to + sender + struct.pack(">H", kind) + content).ljust(_LEAST, b"\0")
    return frame + struct.pack("<I", zlib.crc32(frame))


def unframed(frame: bytes) -> tuple[bytes, bytes, int, bytes]:
    """Addresses, type and content of a frame; a wrong check or length is an AssertionError."""
    assert 64 <= len(frame) <= 1518, f"a frame of {len(frame)} bytes"
    assert struct.pack("<I", zlib.crc32(frame[:-4])) == frame[-4:], f"wrong check: {frame.hex()}"
    return frame[:6], frame[6:12], *struct.unpack(">H", frame[12:14]), frame[14:-4]


def arp(kind: int, mac: bytes, ip: bytes, to_mac: bytes, to_ip: bytes) -> bytes:
    """Content of an ARP frame."""
    return struct.pack(">HHBBH", 1, IPV4, 6, 4, kind) + mac + ip + to_mac + to_ip


def internet_sum(data: bytes) -> int:
    """One's complement sum, as IPv4 and ICMP check with; 0 where it is included and right."""
    words = struct.unpack(f">{len(data) // 2}H", data)
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ipv4(protocol: int, ip: bytes, to_ip: bytes, content: bytes) -> bytes:
    """An IPv4 packet without options."""
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(content), 0, 0, 64, protocol, 0) + ip + to_ip
    head = head[:10] + struct.pack(">H", internet_sum(head)) + head[12:]
    return head + content


def echo(kind: int, data: bytes) -> bytes:
    """An ICMP echo (8) or its answer (0); `data` has an even number of bytes."""
    head = struct.pack(">BBHHH", kind, 0, 0, 7, 1)
    total = internet_sum(head + data)
    return head[:2] + struct.pack(">H", total) + head[4:] + data


def udp(port: int, to_port: int, data: bytes) -> bytes:
    """A UDP datagram without a checksum, which IPv4 allows."""
    return struct.pack(">HHHH", port, to_port, 8 + len(data), 0) + data


@dataclass(frozen=True)
class Ip:
    """An IPv4 packet, taken apart; its header was right."""

    protocol: int
    source: bytes
    target: bytes
    content: bytes

    @classmethod
    def parse(cls, packet: bytes) -> Ip:
        assert packet[0] == 0x45, f"IPv4 header begins with {packet[0]:#x}"
        assert internet_sum(packet[:20]) == 0, f"wrong header checksum: {packet[:20].hex()}"
        (length,) = struct.unpack(">H", packet[2:4])
        assert 20 <= length <= len(packet), f"total length {length} of {len(packet)} bytes"
        return cls(packet[9], packet[12:16], packet[16:20], packet[20:length])


def parse_udp(packet: Ip) -> tuple[int, int, bytes]:
    """Ports and data of a datagram; its checksum must be absent or right."""
    assert packet.protocol == UDP
    port, to_port, length, check = struct.unpack(">HHHH", packet.content[:8])
    assert length == len(packet.content), f"UDP length {length} of {len(packet.content)} bytes"
    if check:
        pseudo = packet.source + packet.target + struct.pack(">BBH", 0, UDP, length)
        covered = pseudo + packet.content
        assert internet_sum(covered + b"\0" * (len(covered) % 2)) == 0, "wrong UDP checksum"
    return port, to_port, packet.content[8:]
