"""Devices and lines that fail on purpose."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from types import TracebackType

from plum_hw.golden.device import GoldenDevice


class BadLine:
    """A device behind a line that damages, cuts and loses what goes over it, both ways."""

    def __init__(self, device: GoldenDevice, seed: int, rate: float) -> None:
        self._device, self._rng, self._rate = device, random.Random(seed), rate
        self.faults = 0

    def feed(self, data: bytes) -> bytes:
        return self._spoil(self._device.feed(self._spoil(data)))

    def _spoil(self, data: bytes) -> bytes:
        if not data or self._rng.random() >= self._rate:
            return data
        self.faults += 1
        place = self._rng.randrange(len(data))
        kind = self._rng.choice(["lost", "cut", "flipped", "noise"])
        if kind == "lost":
            return b""
        if kind == "cut":
            return data[:place]
        if kind == "noise":
            return data[:place] + self._rng.randbytes(9) + data[place:]
        return data[:place] + bytes([data[place] ^ 1 << self._rng.randrange(8)]) + data[place + 1 :]


class Scripted:
    """A device of which each call of `feed` is answered by the next function of a list."""

    def __init__(self, *answers: Callable[[bytes], bytes]) -> None:
        self._answers = list(answers)

    def feed(self, data: bytes) -> bytes:
        return self._answers.pop(0)(data) if self._answers else b""


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
