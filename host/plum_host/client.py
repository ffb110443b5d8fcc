"""The protocol's requests to a device as methods."""

from __future__ import annotations

import struct
from collections.abc import Callable

from plum_host.identity import Identity
from plum_host.protocol import IDENTITY_BYTES, SPACE_BYTES, Op, Space
from plum_host.tickets import HEADER, Ticket
from plum_host.transports.base import Transport
from plum_host.window import RequestWindow

_RUN = struct.Struct("<HHHH")  # program, layers, runs, place of the results


class DeviceClient(RequestWindow):
    """The requests as methods, which submit one or more and return the tickets to `wait` for, or
    to `join`; `identify` and `set_rate` wait themselves.

    *Parameters*: those of `RequestWindow`.
    """

    def __init__(self, transport: Transport, timeout: float, limit: float = 300.0) -> None:
        super().__init__(transport, timeout, limit)
        #: Largest body; what every device takes, until this one was asked.
        self.packet_bytes = 64

    def identify(self) -> Identity:
        """Ask the device what it is; from then on packets are as large as it takes them."""
        size = SPACE_BYTES[Space.IDENTITY]
        payload = b""
        # Small ones, until it is known what the device takes.
        for word in range(0, IDENTITY_BYTES // size, 4):
            ticket = self.submit(Ticket(Op.READ, Space.IDENTITY, 0, word, 4))
            payload += self.wait(ticket)
        identity = Identity.from_bytes(payload, self.transport.name)
        self._room = identity.queue_bytes - 1
        self.packet_bytes = identity.packet_bytes
        if self.transport.packet_bytes < identity.packet_bytes:
            # Small, and so many that they fill the queue: what is under way hides the way there
            # and back.
            packets = -(-self._room // (self.transport.packet_bytes + 1))
            self.packet_bytes = self._room // packets - 1
        return identity

    def write(self, space: Space, cluster: int, address: int, data: bytes) -> list[Ticket]:
        """Submit writes of whole words from `address` on, in as many packets as it takes."""
        word = SPACE_BYTES[space]
        step = (self.packet_bytes - HEADER.size) // word
        tickets = []
        for start in range(0, len(data), step * word):
            part = data[start : start + step * word]
            place = (space, cluster, address + start // word, len(part) // word)
            tickets.append(self.submit(Ticket(Op.WRITE, *place, part)))
        return tickets

    def read(self, space: Space, cluster: int, address: int, count: int) -> list[Ticket]:
        """Submit reads of `count` words; `join` gives their bytes."""
        step = (self.packet_bytes - 2) // SPACE_BYTES[space]
        return [
            self.submit(Ticket(Op.READ, space, cluster, address + start, min(step, count - start)))
            for start in range(0, count, step)
        ]

    def check(self, space: Space, cluster: int, address: int, data: bytes) -> list[Ticket]:
        """Submit comparisons of a memory with `data`: the device answers with checksums."""
        word = SPACE_BYTES[space]
        step = self.packet_bytes // word * word
        tickets = []
        for start in range(0, len(data), step):
            part = data[start : start + step]
            place = (space, cluster, address + start // word, len(part) // word)
            tickets.append(self.submit(Ticket(Op.CHECK, *place, expected=part)))
        return tickets

    def run(
        self,
        program: int,
        layers: int,
        *,
        space: Space,
        address: int,
        count: int,
        results_at: int,
        runs: int = 1,
    ) -> Ticket:
        """Submit a run, answered by `count` words from `address` on when it has ended."""
        data = _RUN.pack(program, layers, runs, results_at)
        return self.submit(Ticket(Op.RUN, space, 0, address, count, data))

    def set_rate(self, rate: int, change: Callable[[], None]) -> None:
        """Have the device take another line rate, then `change` to it here as well.

        Raises `DeviceTimeoutError` where nothing is understood after that; by then both ends are
        back at the rate of the beginning, and the next request begins a new session.
        """
        self.settle()
        self.drain()
        self.submit(Ticket(Op.WRITE, Space.LINE, 0, 0, 1, rate.to_bytes(4, "little")))
        change()
        # The answer may have come too early; the notice to the next PING says the same.
        self.drain()
