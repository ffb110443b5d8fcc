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

    Parameters
    ----------
    name : what messages call it
    device : the model
    """

    def __init__(self, name: str, device: ByteDevice) -> None:
        super().__init__(name)
        self.device = device
        self._answers = bytearray()

    def _write(self, data: bytes) -> None:
        self._answers += self.device.feed(data)

    def _read(self, seconds: float) -> bytes:
        if not self._answers:
            # Nothing can come any more: the wait is the caller's, as with a silent port.
            time.sleep(seconds)
        data = bytes(self._answers)
        self._answers.clear()
        return data

    def close(self) -> None:
        self._answers.clear()
