"""Numbers of the link protocol: the one place that host, golden device and gateware take them from.

Framing is COBS with a closing 0x00; a packet is a body and its CRC-32 (zlib), little endian.
Ref: docs/protocol.md, whose tables `plum_host.protocol_tables` makes from this file.
"""

from __future__ import annotations

import enum

PROTOCOL_VERSION = 3
MAGIC = b"PLUM"
BROADCAST = 0xFF
#: No device has a larger packet body (`ArrayConfig.packet_bytes` is what one device takes).
MAX_PACKET_BYTES = 4096
#: Sequence numbers have 8 bits: at most half as many requests may be unanswered.
MAX_WINDOW = 127
#: Line rate of boards on a serial port.
BAUD_RATE = 1_000_000
#: First counter that holds the cycles of a layer; COUNTER word 16 + i is layer i.
LAYER_COUNTERS = 16


class Op(enum.IntEnum):
    """Request opcodes: the low four bits of the second byte."""

    PING = 1
    RESET = 2
    READ = 3
    CHECK = 4
    WRITE = 5
    RUN = 6


#: Requests that are served whatever their sequence number is, by the receiver itself.
UNNUMBERED = frozenset({Op.PING, Op.RESET})


class Status(enum.IntEnum):
    """Second byte of a response. What is not OK stays until the next RESET."""

    OK = 0
    BAD_OP = 1
    BAD_LENGTH = 2
    BAD_ADDRESS = 3


class Reason(enum.IntEnum):
    """Second byte of a notice: why the receiver sends one."""

    PONG = 0x80
    RESET = 0x81
    GAP = 0x82
    DAMAGED = 0x83
    FULL = 0x84
    CLOSED = 0x85


class Space(enum.IntEnum):
    """Address spaces of READ, CHECK and WRITE."""

    CODE = 0
    TABLE = 1
    ACTIVATION = 2
    RESULT = 3
    COUNTER = 4
    LINE = 5
    IDENTITY = 7


class Counter(enum.IntEnum):
    """Words of the COUNTER space below LAYER_COUNTERS."""

    CYCLES = 0
    BEATS = 1
    DRAIN_STALLS = 2
    EMIT_STALLS = 3


#: Bytes of one addressed word on the link.
SPACE_BYTES = {
    Space.CODE: 4,
    Space.TABLE: 4,
    Space.ACTIVATION: 8,
    Space.RESULT: 4,
    Space.COUNTER: 4,
    Space.LINE: 4,
    Space.IDENTITY: 8,
}

#: Spaces that only the device writes.
READ_ONLY_SPACES = frozenset({Space.RESULT, Space.COUNTER, Space.IDENTITY})

#: Spaces that cannot be read.
WRITE_ONLY_SPACES = frozenset({Space.LINE})
#: LINE word 0 is the rate of a serial line, in bits per 2**RATE_BITS cycles of the array's clock.
RATE_BITS = 14

#: Fields of packets, name and bytes, in the order of the line.
HEADER = (("sequence", 1), ("op", 1))
ACCESS = (("space", 1), ("cluster", 1), ("address", 2), ("count", 2))
RUN = (("program", 2), ("layers", 2), ("runs", 2), ("results_at", 2))
RESPONSE = (("sequence", 1), ("status", 1))
NOTICE = (
    ("expected", 1),
    ("reason", 1),
    ("tag", 1),
    ("got", 1),
    ("answered", 1),
    ("failed", 1),
    ("version", 1),
)
#: Fields of the IDENTITY space.
IDENTITY = (
    ("magic", 4),
    ("version", 1),
    ("clusters", 1),
    ("packet_bytes", 2),
    ("queue_bytes", 2),
    ("result_words", 2),
    ("clock_khz", 4),
    ("digest", 16),
    ("name", 16),
    ("build", 16),
)
IDENTITY_BYTES = sum(size for _, size in IDENTITY)


def field_at(fields: tuple[tuple[str, int], ...], name: str) -> tuple[int, int]:
    """First byte and bytes of a field."""
    at = 0
    for known, size in fields:
        if known == name:
            return at, size
        at += size
    raise KeyError(name)
