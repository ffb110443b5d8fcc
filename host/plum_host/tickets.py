"""A request on its way to a device, and what a link has counted."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from plum_host.protocol import SPACE_BYTES, Op, Space

#: Of a request's body: sequence, opcode, space, cluster, address, count.
HEADER = struct.Struct("<BBBBHH")


@dataclass
class Ticket:
    """A request on its way.

    op, space, cluster, address, count, data : what is asked
    expected : of CHECK, the words that the memory should hold
    answer : the words that it was answered with, once that has come
    """

    op: Op
    space: Space
    cluster: int
    address: int
    count: int
    data: bytes = b""
    expected: bytes = b""
    answer: bytes | None = None
    sequence: int = 0
    sent_at: float = 0.0
    attempts: int = 0

    @property
    def done(self) -> bool:
        return self.answer is not None

    @property
    def places(self) -> int:
        """Places that it takes in the device's queue."""
        return HEADER.size + len(self.data) + 1

    @property
    def reply_bytes(self) -> int:
        """Bytes of the body that answers it."""
        words = self.count if self.op in (Op.READ, Op.RUN) else 0
        return 2 + words * SPACE_BYTES[self.space]

    def body(self, tag: int) -> bytes:
        op = self.op | tag << 4
        header = (self.sequence, op, self.space, self.cluster, self.address, self.count)
        return HEADER.pack(*header) + self.data


@dataclass
class LinkCounts:
    """What the link did so far."""

    requests: int = 0  # numbered ones, each counted once
    sent: int = 0  # packets, repetitions and probes included
    repeated: int = 0  # packets that were sent again
    asked_again: int = 0  # answers that were lost, and asked for again
    probes: int = 0
    resets: int = 0
    waits: int = 0  # for room in the device's queue
    dry: int = 0  # runs that ended when the device had nothing else to do
    payload_sent: int = 0  # bytes of words written, each once
    payload_received: int = 0  # bytes of words read
