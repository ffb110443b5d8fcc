"""Sessions: a device, the bundle on it, images through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from plum_host.bundle import Bundle
from plum_host.client import DeviceClient, Identity, RunLostError
from plum_host.errors import ConfigMismatchError, PlumHostError, ProtocolError
from plum_host.protocol import BROADCAST, LAYER_COUNTERS, SPACE_BYTES, Counter, Space
from plum_host.transports import Transport, open_transport

#: Called with the number of images that are done.
Progress = Callable[[int], None]

_RUN_ATTEMPTS = 4


@dataclass(frozen=True)
class RunResult:
    """What a device made of some images."""

    outputs: npt.NDArray[np.integer[Any]]  # one row an image: logits, or a map of activations
    cycles: npt.NDArray[np.int64]  # clock cycles of each image, as the device counted them
    seconds: float  # of wall time, transfers included


class Session:
    """A device in use. One program at a time may hold one.

    After any error the session stays usable, unless the connection itself is gone.

    Parameters
    ----------
    transport : the way to the device; the session closes it
    timeout : seconds to wait for one answer, before the request is repeated a few times
    run_timeout : seconds that one image may take
    """

    def __init__(
        self, transport: Transport, *, timeout: float = 2.0, run_timeout: float = 300.0
    ) -> None:
        self._client = DeviceClient(transport, timeout)
        self._run_timeout = run_timeout
        self._bundle: Bundle | None = None
        self._identity: Identity | None = None

    @classmethod
    def open(
        cls,
        device: str,
        config: Any = None,
        *,
        timeout: float = 2.0,
        run_timeout: float = 300.0,
        **options: Any,
    ) -> Session:
        """Open a device and make sure that it answers. A run that somebody left on it is aborted.

        *Parameters*: ``device``, "golden", "virtual", a serial port, or a URL such as
        ``socket://127.0.0.1:4000``; ``config``, the array of "golden" and "virtual": a preset's
        name, or the ``config`` of a bundle's manifest (other devices have their own);
        ``timeout`` and ``run_timeout`` as for the class; ``options`` for the transport, for
        example ``baud``.
        """
        session = cls(
            open_transport(device, config, **options), timeout=timeout, run_timeout=run_timeout
        )
        try:
            session.identify()
        except BaseException:
            session.close()
            raise
        return session

    def identify(self) -> Identity:
        """What the device is."""
        self._identity = self._client.identify()
        return self._identity

    def load(self, bundle: Bundle) -> None:
        """Write a bundle to the device, read it back and compare.

        Raises
        ------
        ConfigMismatchError : the bundle was made for another array
        ProtocolError : the device's memory does not hold what was written
        """
        identity = self.identify()
        if bundle.manifest["digest"] != identity.digest:
            raise ConfigMismatchError(
                f"the bundle is made for array {bundle.manifest['config']['name']!r} (digest "
                f"{bundle.manifest['digest']}); {self._client.transport.name} has digest "
                f"{identity.digest}: compile the network for that array"
            )
        self._bundle = None
        for space, parts in (
            (Space.PROGRAM, bundle.program),
            (Space.TABLE, bundle.table),
            (Space.WEIGHT, bundle.weight),
        ):
            for cluster, words in enumerate(parts):
                data = np.asarray(words, "<u4").tobytes()
                self.write_memory(space, 0, data, cluster=cluster)
                if self.read_memory(space, 0, len(data) // 4, cluster=cluster) != data:
                    raise ProtocolError(
                        f"{self._client.transport.name}: {space.name} memory of cluster {cluster} "
                        "does not hold what was written to it"
                    )
        self._bundle = bundle

    def run(self, images: npt.ArrayLike, progress: Progress | None = None) -> RunResult:
        """Send images through the network, one after another.

        *Parameters*: ``images``, what `Bundle.pack_images` takes; ``progress``, called after each.
        """
        bundle = self._loaded()
        packed = bundle.pack_images(np.asarray(images))
        begin = time.monotonic()
        outputs, cycles = [], []
        for number, words in enumerate(packed):
            output, count = self._run_image(bundle, np.ascontiguousarray(words).tobytes())
            outputs.append(output)
            cycles.append(count)
            if progress is not None:
                progress(number + 1)
        seconds = time.monotonic() - begin
        if not outputs:
            space, _, count = bundle.output_range
            outputs = [bundle.unpack_output(bytes(count * SPACE_BYTES[space]))]
        return RunResult(np.stack(outputs)[: len(cycles)], np.array(cycles, np.int64), seconds)

    def counters(self, cluster: int = 0) -> dict[str, int]:
        """What a cluster counted in the last run."""
        words = self._words(Space.COUNTER, 0, len(Counter), cluster)
        return {counter.name.lower(): int(words[counter]) for counter in Counter}

    def layer_cycles(self, cluster: int = 0) -> list[int]:
        """Cycles of each layer of the loaded bundle in the last run."""
        count = len(self._loaded().manifest["layers"])
        return [int(word) for word in self._words(Space.COUNTER, LAYER_COUNTERS, count, cluster)]

    def read_memory(self, space: Space, address: int, count: int, *, cluster: int = 0) -> bytes:
        """`count` words of a memory, as they are stored."""
        return self._client.read(space, cluster, address, count)

    def write_memory(
        self, space: Space, address: int, data: bytes, *, cluster: int = BROADCAST
    ) -> None:
        """Write whole words to a memory of one cluster or of all."""
        if len(data) % SPACE_BYTES[space]:
            raise PlumHostError(
                f"{len(data)} bytes for {space.name}; it must be a multiple of {SPACE_BYTES[space]}"
            )
        self._client.write(space, cluster, address, data)

    def close(self) -> None:
        """Give the device free; a run that goes on is aborted. It may be called again."""
        self._client.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run_image(self, bundle: Bundle, words: bytes) -> tuple[Any, int]:
        """Outputs and cycles of one image; all of it again where the run was lost."""
        manifest = bundle.manifest
        layers = len(manifest["layers"])
        for attempt in range(_RUN_ATTEMPTS):
            self.write_memory(Space.ACTIVATION, manifest["input"]["address"], words)
            try:
                cycles = self._client.run(manifest["program_address"], layers, self._run_timeout)
                break
            except RunLostError:
                if attempt + 1 == _RUN_ATTEMPTS:
                    raise
        return bundle.unpack_output(self.read_memory(*bundle.output_range)), cycles

    def _loaded(self) -> Bundle:
        if self._bundle is None:
            raise PlumHostError("no bundle is loaded; call load(bundle) first")
        return self._bundle

    def _words(self, space: Space, address: int, count: int, cluster: int = 0) -> Any:
        return np.frombuffer(self.read_memory(space, address, count, cluster=cluster), "<u4")
