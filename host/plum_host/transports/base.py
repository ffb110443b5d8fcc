"""What every way to a device has in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque

from plum_host.errors import DeviceTimeoutError, ProtocolError
from plum_host.packets import END, Damaged, PacketParser, encode
from plum_host.protocol import MAX_PACKET_BYTES


class DamagedPacketError(ProtocolError):
    """A packet arrived that is not what the device sent, or the answer to CHECK.

    packet : as far as it could be decoded, with the checksum
    """

    def __init__(self, text: str, packet: bytes = b"") -> None:
        super().__init__(text)
        self.packet = packet


class Transport(ABC):
    """Carries packets to one device and back. Bodies only: framing and checksum are its own matter.

    A packet may be lost, repeated, damaged or come out of turn; `plum_host.window` sees to it.
    """

    #: What the device is called, for messages.
    name: str
    #: Largest body of a packet that travels well.
    packet_bytes: int = MAX_PACKET_BYTES
    #: Bytes of the line so far, each way.
    sent: int = 0
    received: int = 0

    def now(self) -> float:
        """Seconds of the clock that deadlines are of."""
        return time.monotonic()

    @abstractmethod
    def send(self, body: bytes) -> None:
        """Send one packet; a TransportError when the way is broken."""

    @abstractmethod
    def receive(self, deadline: float) -> bytes:
        """Body of the next packet.

        Raises
        ------
        DeviceTimeoutError : none came before `deadline`, a time of `now`
        DamagedPacketError : one came, damaged
        TransportError : the way is broken
        """

    @abstractmethod
    def resync(self) -> None:
        """Make the device forget a packet that it received in part, and drop what was received."""

    def fall_back(self) -> bool:
        """Go back to the rate that a device begins with; False where there is nothing to go back
        to.
        """
        return False

    @abstractmethod
    def close(self) -> None:
        """Give the device free. It may be called again."""


class StreamTransport(Transport):
    """A transport over a stream of bytes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._parser = PacketParser(MAX_PACKET_BYTES)
        self._packets: deque[bytes | Damaged] = deque()

    @abstractmethod
    def write_bytes(self, data: bytes) -> None:
        """Send all of `data`."""

    @abstractmethod
    def read_bytes(self, seconds: float) -> bytes:
        """What has come, after at most that time; nothing if nothing came."""

    def send(self, body: bytes) -> None:
        frame = encode(body)
        self.sent += len(frame)
        self.write_bytes(frame)

    def receive(self, deadline: float) -> bytes:
        while not self._packets:
            # What is there already is taken even if it is late.
            left = deadline - self.now()
            data = self.read_bytes(max(0.0, left))
            self.received += len(data)
            self._packets.extend(self._parser.feed(data))
            if not self._packets and left <= 0:
                raise DeviceTimeoutError(f"{self.name}: no answer in time")
        packet = self._packets.popleft()
        if isinstance(packet, Damaged):
            raise DamagedPacketError(f"{self.name}: a damaged packet arrived", packet.packet)
        return packet

    def resync(self) -> None:
        self._parser.clear()
        self._packets.clear()
        self.write_bytes(END)
