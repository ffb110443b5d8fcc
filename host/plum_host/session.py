"""Sessions: a device, the bundle on it, images through it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from plum_host.bundle import Bundle
from plum_host.client import DeviceClient
from plum_host.errors import ConfigMismatchError, DeviceRestartedError, PlumHostError
from plum_host.identity import Identity
from plum_host.protocol import BROADCAST, SPACE_BYTES, Counter, Space
from plum_host.rates import RATES, Trial, negotiate
from plum_host.runner import Flight, Runner
from plum_host.steps import no_output
from plum_host.tickets import LinkCounts
from plum_host.transports import Transport, open_transport

#: Called with the number of images that are done.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class RunResult:
    """What a device made of some images."""

    outputs: npt.NDArray[np.integer[Any]]  # one row an image: logits, or a map of activations
    cycles: npt.NDArray[np.int64]  # clock cycles of each image, as the device counted them
    seconds: float  # of wall time, transfers included


@dataclass(frozen=True)
class ImageResult:
    """What a device made of one image.

    number : of the image, counted from 0
    output : logits, int32 [K], or a map, uint8 (C, H, W)
    cycles : as the device counted them
    """

    number: int
    output: npt.NDArray[np.integer[Any]]
    cycles: int


class Session:
    """A device in use. One program at a time may hold one.

    After any error the session stays usable, unless the connection itself is gone: what the device
    holds is then written anew. Where the device was restarted the bundle must be loaded again.

    Parameters
    ----------
    transport : the way to the device; the session closes it
    timeout : seconds of silence before the device is asked again; four of them and it is given up
    run_timeout : seconds that one image may take
    """

    def __init__(
        self, transport: Transport, *, timeout: float = 2.0, run_timeout: float = 300.0
    ) -> None:
        self._client = DeviceClient(transport, timeout, run_timeout)
        self._runner: Runner | None = None

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
        """Open a device and make sure that it answers. A run that somebody left on it is stopped.

        *Parameters*: ``device``, "golden", "virtual", a serial port, or a URL such as
        ``socket://127.0.0.1:4000`` or ``udp://192.168.1.50``; ``config``, the array of "golden" and
        "virtual": a preset's name, or the ``config`` of a bundle's manifest (other devices have
        their own); ``timeout`` and ``run_timeout`` as for the class; ``options`` for the transport,
        for example ``baud``.
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

    # ---- the device ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What the device is called, for messages."""
        return self._client.transport.name

    @property
    def transport(self) -> Transport:
        """The way to the device."""
        return self._client.transport

    @property
    def client(self) -> DeviceClient:
        """The protocol's requests, for those who want to send some themselves."""
        return self._client

    @property
    def link(self) -> LinkCounts:
        """What the link did so far."""
        return self._client.counts

    def identify(self) -> Identity:
        """What the device is."""
        return self._client.identify()

    def negotiate(self, rates: Sequence[int] = RATES) -> list[Trial]:
        """Find the fastest line rate that is clean, of a device on a serial port, and stay there.

        Before `load`: the activations' memory is overwritten. A device that is left at a high rate
        comes back by itself when it is opened the next time. As `plum_host.rates.negotiate`.
        """
        self._runner = None
        return negotiate(self._client, self.identify(), rates)

    def reset(self) -> None:
        """Stop whatever the device does and begin anew; its memories are taken for unknown."""
        self._client.reset()

    def load(self, bundle: Bundle) -> None:
        """Take up a bundle: write its first part to the device and have it compared there.

        The further parts of a bundle that has several are written before they run, and are compared
        when they are written for the first time.

        Raises
        ------
        ConfigMismatchError : the bundle was made for another array
        VerifyError : the device's memory does not hold what was written
        """
        self._runner = None
        identity = self.identify()
        if bundle.manifest["digest"] != identity.digest:
            raise ConfigMismatchError(
                f"the bundle is made for array {bundle.manifest['config']['name']!r} (digest "
                f"{bundle.manifest['digest']}); {self.name} has digest "
                f"{identity.digest}: compile the network for that array"
            )
        runner = Runner(self._client, bundle)
        runner.load()
        self._runner = runner

    def verify(self) -> int:
        """Compare what was loaded with what the device's memories hold now.

        Returns the number of words compared. Raises `VerifyError` with the first wrong one.
        """
        return self._loaded().verify()

    # ---- images ----------------------------------------------------------------------------------

    def run(self, images: npt.ArrayLike, progress: Progress | None = None) -> RunResult:
        """Send images through the network; the next ones are on their way while one is computed.

        *Parameters*: ``images``, what `Bundle.check_images` takes; ``progress``, called after each.
        """
        runner = self._loaded()
        checked = runner.bundle.check_images(images)
        begin = time.monotonic()
        outputs, cycles = [], []
        for result in self._flow(iter(checked), None, last=len(checked) - 1):
            outputs.append(result.output)
            cycles.append(result.cycles)
            if progress is not None:
                progress(result.number + 1)
        seconds = time.monotonic() - begin
        stacked = np.stack(outputs) if outputs else no_output(runner.bundle)
        return RunResult(stacked, np.array(cycles, np.int64), seconds)

    def stream(
        self, images: Iterable[npt.ArrayLike], *, depth: int | None = None
    ) -> Iterator[ImageResult]:
        """Results of images from an iterator, in their order, as they come.

        An image is taken from the iterator as soon as there is room for it, up to `depth` before
        the result of the first is due; so transfers go on while the array computes.

        *Parameters*: ``images``, each uint8 (C, H, W); ``depth``, 1 or more: with 1 each result is
        waited for before the next image is taken.
        """
        if depth is not None and depth < 1:
            raise PlumHostError(f"depth is {depth}; it must be 1 or more")
        self._loaded()
        return self._flow(iter(images), depth)

    def _flow(
        self, images: Iterator[npt.ArrayLike], depth: int | None, last: int | None = None
    ) -> Iterator[ImageResult]:
        """Results in order; `last` is the number of the image whose counters are wanted."""
        runner = self._loaded()
        most = min(depth or runner.most_flights, runner.most_flights)
        flights: deque[Flight] = deque()
        done = 0
        with _Restarts(self):
            for number, image in enumerate(images):
                flights.append(runner.begin(image, count=number == last))
                self._client.poll()
                while flights and (len(flights) >= most or flights[0].done):
                    yield ImageResult(done, *runner.finish(flights.popleft()))
                    done += 1
            for flight in flights:
                yield ImageResult(done, *runner.finish(flight))
                done += 1

    def replay(self, runs: int) -> int:
        """Run the first part that often without the link in between; the cycles of the last.

        What its input holds does not matter: cycles do not depend on data. Nor does what comes of
        it. For the speed of the array by itself.
        """
        if not 1 <= runs <= 1 << 15:
            raise PlumHostError(f"runs is {runs}; it must be 1 to {1 << 15}")
        runner = self._loaded()
        with _Restarts(self):
            answer = self._client.wait(runner.repeat(0, runs))
        return int.from_bytes(answer[:4], "little")

    # ---- counters and memories -------------------------------------------------------------------

    def counters(self) -> dict[str, int]:
        """What the device counted for the last image of `run`, over all parts of the network."""
        counted = self._counted()
        return {name.name.lower(): sum(part.totals[name] for part in counted) for name in Counter}

    def layer_cycles(self) -> list[int]:
        """Cycles of each layer of the loaded bundle for the last image, over all its runs.

        Raises `PlumHostError` where a part has more layers than the device counts apart.
        """
        bundle = self._loaded().bundle
        most, limit = max(bundle.parts), bundle.manifest["config"]["layer_counters"]
        if most > limit:
            raise PlumHostError(
                f"the device counts the cycles of {limit} layers apart and the network has {most}; "
                "use an array with more layer_counters"
            )
        return [cycles for part in self._counted() for cycles in part.layers]

    def read_memory(self, space: Space, address: int, count: int, *, cluster: int = 0) -> bytes:
        """`count` words of a memory, as they are stored."""
        return self._client.join(self._client.read(space, cluster, address, count))

    def write_memory(
        self, space: Space, address: int, data: bytes, *, cluster: int = BROADCAST
    ) -> None:
        """Write whole words to a memory of one cluster or of all."""
        if len(data) % SPACE_BYTES[space]:
            raise PlumHostError(
                f"{len(data)} bytes for {space.name}; it must be a multiple of {SPACE_BYTES[space]}"
            )
        self._client.join(self._client.write(space, cluster, address, data))

    def write_memories(self, blocks: Iterable[tuple[Space, int, int, bytes]]) -> None:
        """Write many blocks (space, cluster, address, whole words), without a wait in between."""
        for space, cluster, address, data in blocks:
            self._client.write(space, cluster, address, data)
        self._client.drain()

    def close(self) -> None:
        """Give the device free; a run that goes on is stopped. It may be called again."""
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

    def _loaded(self) -> Runner:
        if self._runner is None:
            raise PlumHostError("no bundle is loaded; call load(bundle) first")
        return self._runner

    def _counted(self) -> list[Any]:
        counted = self._loaded().counted
        if not counted:
            raise PlumHostError("nothing was counted yet; call run(images) first")
        return [counted[part] for part in sorted(counted)]


class _Restarts:
    """A device that was restarted holds no network any more."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None and issubclass(kind, DeviceRestartedError):
            self._session._runner = None
