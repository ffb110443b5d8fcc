"""Devices that live in this process."""

from __future__ import annotations

import time
from typing import Protocol

from plum_host.transports.base import StreamTransport


class ByteDevice(Protocol):
    """A model of a device: bytes in, bytes out."""

    def feed(self, data: bytes) -> bytes:
        """Bytes that the device sends in answer to these."""


class InProcessTransport(StreamTransport):
    """A device that is an object of this process, behind the same bytes as any other.

    It has answered before `send` returns, so where nothing has come nothing will: the clock of
    deadlines is moved on instead of waiting.

    Parameters
    ----------
    name : what messages call it
    device : the model
    """

    def __init__(self, name: str, device: ByteDevice) -> None:
        super().__init__(name)
        self.device = device
        self._answers = bytearray()
        self._skipped = 0.0

    def now(self) -> float:
        return time.monotonic() + self._skipped

    def write_bytes(self, data: bytes) -> None:
        self._answers += self.device.feed(data)

    def read_bytes(self, seconds: float) -> bytes:
        if not self._answers:
            self._skipped += seconds
        data = bytes(self._answers)
        self._answers.clear()
        return data

    def close(self) -> None:
        self._answers.clear()
