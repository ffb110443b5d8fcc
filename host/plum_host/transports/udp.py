"""Datagrams: `udp://HOST:PORT`. Each holds whole packets, in the same frames as a line."""

from __future__ import annotations

import contextlib
import select
import socket
from urllib.parse import urlsplit

from plum_host.datagrams import PACKET_BYTES, Gatherer
from plum_host.errors import TransportError
from plum_host.transports.base import StreamTransport

SCHEME = "udp://"
#: Longest wait in one read, so that Ctrl-C and closing are noticed.
_SLICE_SECONDS = 0.25
_MOST_BYTES = 65536


class UdpTransport(StreamTransport):
    """A device that is reached by UDP.

    Packets are gathered into datagrams; what has been gathered leaves when an answer is waited for.

    Parameters
    ----------
    url : `udp://HOST:PORT`

    Raises
    ------
    TransportError : the URL is none, or the host is not known
    """

    packet_bytes = PACKET_BYTES

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._gatherer = Gatherer()
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not url.startswith(SCHEME) or not host or not port:
            raise TransportError(f"{url!r} names no UDP port; it must be {SCHEME}HOST:PORT")
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_DGRAM
            )[0]
            self._socket = socket.socket(family, kind, protocol)
            # Only what comes from there is received; nothing is sent by this.
            self._socket.connect(address)
        except OSError as error:
            raise TransportError(f"cannot open {url}: {error.strerror or error}") from None
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def write_bytes(self, data: bytes) -> None:
        self._send(self._gatherer.add(data))

    def _send(self, datagrams: list[bytes]) -> None:
        try:
            for datagram in datagrams:
                self._socket.send(datagram)
        except ConnectionRefusedError:
            pass  # of an earlier datagram: nobody listens, or does not yet
        except OSError as error:
            raise self._broken(error) from None

    def read_bytes(self, seconds: float) -> bytes:
        self._send(self._gatherer.flush())
        try:
            if not select.select([self._socket], [], [], min(seconds, _SLICE_SECONDS))[0]:
                return b""
            return self._socket.recv(_MOST_BYTES)
        except ConnectionRefusedError:
            return b""
        except (OSError, ValueError) as error:
            # select raises ValueError where another thread has closed the socket.
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> TransportError:
        return TransportError(f"{self.name}: the connection broke ({error})")

    def close(self) -> None:
        with contextlib.suppress(TransportError):
            self._send(self._gatherer.flush())
        self._socket.close()
