"""Numbers of the link protocol: the one place that host, golden device and gateware take them from.

Framing is COBS with a closing 0x00; a packet is a body and its CRC-32 (zlib), little endian.
Ref: docs/architecture.md, section Link.
"""

from __future__ import annotations

import enum

PROTOCOL_VERSION = 2
MAGIC = b"PLUM"
BROADCAST = 0xFF
#: No device has a larger packet body (`ArrayConfig.packet_bytes` is what one device takes).
MAX_PACKET_BYTES = 4096
#: Line rate of boards on a serial port.
BAUD_RATE = 1_000_000
#: First counter that holds the cycles of a layer; COUNTER word 16 + i is layer i.
LAYER_COUNTERS = 16


class Op(enum.IntEnum):
    """Request opcodes."""

    IDENTIFY = 1
    WRITE = 2
    READ = 3
    RUN = 4
    ABORT = 5


class Status(enum.IntEnum):
    """Response status."""

    OK = 0
    BAD_OP = 1
    BAD_LENGTH = 2
    BAD_ADDRESS = 3
    BUSY = 4
    ABORTED = 5
    BAD_CRC = 6


class Space(enum.IntEnum):
    """Address spaces of READ and WRITE."""

    CODE = 0
    TABLE = 1
    ACTIVATION = 2
    RESULT = 3
    COUNTER = 4


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
}

#: Spaces that only the device writes.
READ_ONLY_SPACES = frozenset({Space.RESULT, Space.COUNTER})
