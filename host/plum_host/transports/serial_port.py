"""Serial ports, and through pyserial's URLs everything that looks like one: `socket://HOST:PORT`."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable

import serial

from plum_host.errors import TransportError
from plum_host.packets import END
from plum_host.protocol import BAUD_RATE
from plum_host.transports.base import StreamTransport

#: Longest wait in one read, so that Ctrl-C and closing are noticed.
_SLICE_SECONDS = 0.25
_READ_BYTES = 4096
#: That a USB bridge may take to send what it was given.
_BRIDGE_SECONDS = 0.005


class SerialTransport(StreamTransport):
    """A device on a serial port or a pyserial URL.

    Parameters
    ----------
    port : name of the port, or a URL
    baud : line rate; a socket has none
    name : what messages call it, where that is not the port
    on_close : called when the transport is closed

    Raises
    ------
    TransportError : the port does not exist, is busy, or may not be opened
    """

    def __init__(
        self,
        port: str,
        *,
        baud: int = BAUD_RATE,
        name: str | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(name or port)
        self._on_close = on_close
        self._base = baud
        try:
            # Two programs on one port would take each other's answers.
            options = {} if "://" in port else {"exclusive": True}
            self._port = serial.serial_for_url(
                port, baudrate=baud, timeout=0, write_timeout=10.0, **options
            )
        except (serial.SerialException, OSError, ValueError) as error:
            raise TransportError(f"cannot open {port}: {_reason(error)}") from None
        # A USB bridge otherwise holds answers back for up to 16 ms. Not all ports have it.
        with contextlib.suppress(serial.SerialException, OSError, AttributeError, ValueError):
            self._port.set_low_latency_mode(True)

    def write_bytes(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            raise self._broken(error) from None

    def read_bytes(self, seconds: float) -> bytes:
        try:
            self._port.timeout = min(seconds, _SLICE_SECONDS)
            first = self._port.read(1)
            if not first:
                return b""
            self._port.timeout = 0
            return first + self._port.read(_READ_BYTES)
        except (serial.SerialException, OSError, TypeError) as error:
            # pyserial raises TypeError where another thread has closed the port.
            raise self._broken(error) from None

    @property
    def baud(self) -> int:
        """Present rate of the line."""
        return int(self._port.baudrate)

    def change_rate(self, baud: int) -> None:
        """Go on at another rate, once all is out that was sent."""
        try:
            self._port.flush()
            # What the system has given to a USB bridge is not on the line yet.
            time.sleep(_BRIDGE_SECONDS)
            self._port.baudrate = baud
        except (serial.SerialException, OSError, ValueError) as error:
            raise self._broken(error) from None

    def fall_back(self) -> bool:
        if self.baud == self._base:
            return False
        self.change_rate(self._base)
        # For a device at a higher rate this is a break, which takes it back as well.
        self.write_bytes(END)
        return True

    def _broken(self, error: Exception) -> TransportError:
        return TransportError(
            f"{self.name}: the connection broke ({_reason(error)}): "
            "the device is gone, or another program holds it"
        )

    def close(self) -> None:
        self._port.close()
        if self._on_close is not None:
            on_close, self._on_close = self._on_close, None
            on_close()


_REMEDIES = {
    errno.ENOENT: "no such port; `python -m serial.tools.list_ports` lists those there are",
    errno.EACCES: "permission denied; on Linux the user must be in the group 'dialout'",
    errno.EBUSY: "another program uses it",
    errno.EAGAIN: "another program uses it",
    errno.EWOULDBLOCK: "another program uses it",
    errno.ENOTTY: "it is not a serial port",
    errno.EISDIR: "it is a folder, not a serial port",
    errno.ECONNREFUSED: "connection refused: nothing listens there",
}


def _reason(error: Exception) -> str:
    cause = error.__context__
    # termios.error, which some systems do not have, holds the number as its first argument.
    numbers = (getattr(error, "errno", None), *getattr(cause, "args", ()))
    number = next((item for item in numbers if isinstance(item, int)), 0)
    if isinstance(cause, TypeError):
        # pyserial compares the number of a TCP port that is not there.
        return "the URL names no TCP port; it must be socket://HOST:PORT"
    return _REMEDIES.get(number, str(error).strip() or type(error).__name__)
