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
from plum_host.steps import no_output, turns
from plum_host.transports import Transport, open_transport

#: Called with the number of images that are done.
Progress = Callable[[int], None]

_RUN_ATTEMPTS = 4
#: Word of code memory where every program begins.
_PROGRAM = 0


@dataclass(frozen=True)
class RunResult:
    """What a device made of some images."""

    outputs: npt.NDArray[np.integer[Any]]  # one row an image: logits, or a map of activations
    cycles: npt.NDArray[np.int64]  # clock cycles of each image, as the device counted them
    seconds: float  # of wall time, transfers included


@dataclass(frozen=True)
class _Counted:
    """Counters after a run."""

    totals: list[int]  # by Counter
    layers: list[int]  # cycles of those layers that are counted apart

    def __add__(self, other: _Counted) -> _Counted:
        return _Counted(
            [a + b for a, b in zip(self.totals, other.totals, strict=True)],
            [a + b for a, b in zip(self.layers, other.layers, strict=True)],
        )


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
        #: The part that the device's memories hold, and those that were read back once.
        self._part: int | None = None
        self._verified: set[int] = set()
        #: Counters of each part for the last image, summed over its runs.
        self._counted: dict[int, _Counted] = {}

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
        return self._client.identify()

    def load(self, bundle: Bundle) -> None:
        """Take up a bundle: write its first part to the device, read it back and compare.

        The further parts of a bundle that has several are written before they run, and are compared
        when they are written for the first time.

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
        self._part = None
        self._verified.clear()
        self._counted.clear()
        self._load_part(bundle, 0)
        self._bundle = bundle

    def run(self, images: npt.ArrayLike, progress: Progress | None = None) -> RunResult:
        """Send images through the network, one after another.

        *Parameters*: ``images``, what `Bundle.check_images` takes; ``progress``, called after each.
        """
        bundle = self._loaded()
        checked = bundle.check_images(images)
        begin = time.monotonic()
        outputs, cycles = [], []
        for number, image in enumerate(checked):
            output, count = self._run_image(bundle, image)
            outputs.append(output)
            cycles.append(count)
            if progress is not None:
                progress(number + 1)
        seconds = time.monotonic() - begin
        stacked = np.stack(outputs) if outputs else no_output(bundle)
        return RunResult(stacked, np.array(cycles, np.int64), seconds)

    def counters(self) -> dict[str, int]:
        """What the device counted for the last image, over all parts of the network."""
        counted = self._counters()
        return {name.name.lower(): sum(part.totals[name] for part in counted) for name in Counter}

    def layer_cycles(self) -> list[int]:
        """Cycles of each layer of the loaded bundle for the last image, over all its runs.

        Raises `PlumHostError` where a part has more layers than the device counts apart.
        """
        bundle = self._loaded()
        most, limit = max(bundle.parts), bundle.manifest["config"]["layer_counters"]
        if most > limit:
            raise PlumHostError(
                f"the device counts the cycles of {limit} layers apart and the network has {most}; "
                "use an array with more layer_counters"
            )
        return [cycles for part in self._counters() for cycles in part.layers]

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

    def _run_image(
        self, bundle: Bundle, image: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[Any], int]:
        """Outputs and cycles of one image; all of it again where a run was lost."""
        for attempt in range(_RUN_ATTEMPTS):
            try:
                return self._run_turns(bundle, image)
            except RunLostError:
                if attempt + 1 == _RUN_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _run_turns(
        self, bundle: Bundle, image: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[Any], int]:
        """Outputs and cycles of one image."""
        self._counted.clear()
        cycles = 0
        steps = turns(bundle, image)
        turn = next(steps)
        while True:
            for write in turn.writes:
                self.write_memory(
                    Space.ACTIVATION, write.address, write.data, cluster=write.cluster
                )
            if turn.part != self._part:
                self._load_part(bundle, turn.part)
            layers = bundle.parts[turn.part]
            cycles += self._client.run(_PROGRAM, layers, self._run_timeout)
            if len(bundle.steps) > 1:
                # The next run overwrites them.
                counted = self._read_counters(bundle, layers)
                before = self._counted.get(turn.part)
                self._counted[turn.part] = counted if before is None else before + counted
            data = [
                self.read_memory(read.space, read.address, read.words, cluster=read.cluster)
                for read in turn.reads
            ]
            try:
                turn = steps.send(data)
            except StopIteration as end:
                return end.value, cycles

    def _load_part(self, bundle: Bundle, part: int) -> None:
        """Write a part's code and tables; the first time also read them back."""
        self._part = None
        compare = part not in self._verified
        for space, memory in ((Space.CODE, bundle.code), (Space.TABLE, bundle.table)):
            blocks = [np.asarray(words, "<u4").tobytes() for words in memory[part]]
            if len(blocks) > 1 and all(block == blocks[0] for block in blocks):
                self.write_memory(space, 0, blocks[0])
            else:
                for cluster, block in enumerate(blocks):
                    self.write_memory(space, 0, block, cluster=cluster)
            for cluster, block in enumerate(blocks if compare else ()):
                if self.read_memory(space, 0, len(block) // 4, cluster=cluster) != block:
                    raise ProtocolError(
                        f"{self._client.transport.name}: {space.name} memory of cluster {cluster} "
                        "does not hold what was written to it"
                    )
        self._verified.add(part)
        self._part = part

    def _loaded(self) -> Bundle:
        if self._bundle is None:
            raise PlumHostError("no bundle is loaded; call load(bundle) first")
        return self._bundle

    def _counters(self) -> list[_Counted]:
        """Counters of each part; those of a single run still stand in the device."""
        bundle = self._loaded()
        if len(bundle.steps) == 1:
            return [self._read_counters(bundle, bundle.parts[0])]
        if not self._counted:
            raise PlumHostError("nothing was counted yet; call run(images) first")
        return [self._counted[part] for part in sorted(self._counted)]

    def _read_counters(self, bundle: Bundle, layers: int) -> _Counted:
        apart = min(layers, bundle.manifest["config"]["layer_counters"])
        return _Counted(
            self._words(Space.COUNTER, 0, len(Counter)),
            self._words(Space.COUNTER, LAYER_COUNTERS, apart),
        )

    def _words(self, space: Space, address: int, count: int) -> list[int]:
        words: list[int] = np.frombuffer(self.read_memory(space, address, count), "<u4").tolist()
        return words
