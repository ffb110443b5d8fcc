"""Devices and lines that fail on purpose."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType

from plum_host.protocol import Op
from plum_hw.config import ArrayConfig
from plum_hw.golden.device import GoldenDevice


class DeadLine:
    """A device behind a line that carries nothing while `dead`."""

    def __init__(self, device: GoldenDevice) -> None:
        self._device = device
        self.dead = False

    def feed(self, data: bytes) -> bytes:
        return b"" if self.dead else self._device.feed(data)


class EndlessDevice(GoldenDevice):
    """A device on which a run does not end by itself while `endless`; what follows it waits."""

    def __init__(self, config: ArrayConfig) -> None:
        super().__init__(config)
        self.endless = True
        self.running = False

    def _execute(self, body: bytes) -> bytes:
        self.running |= self.endless and body[1] & 15 == Op.RUN
        if not self.running:
            return super()._execute(body)
        self._answered -= 1  # and one is added
        return b""

    def _reset(self, sequence: int, session: int) -> bytes:
        self.running = False
        return super()._reset(sequence, session)


class Server:
    """A loopback TCP port that serves one connection with a function, then ends."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._serve = serve
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            connection, _ = self._listener.accept()
            with connection:
                self._serve(connection)
        except OSError:
            pass  # the test closed the port

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
