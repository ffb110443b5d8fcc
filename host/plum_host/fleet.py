"""Several devices with the same network: images are spread over them, results keep their order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from plum_host.bundle import Bundle
from plum_host.errors import ImageError, PlumHostError
from plum_host.session import ImageResult, Progress, RunResult, Session
from plum_host.steps import no_output

#: Images that a device may be ahead of one that is slow, for each device.
_AHEAD = 64


@dataclass(frozen=True)
class Share:
    """What became of a device: images that it did, and why it did no more."""

    device: str
    images: int
    failure: str | None


class Fleet:
    """Sessions that share the work. A device that fails is left out; the others do its images.

    Parameters
    ----------
    sessions : at least one; they are closed with the fleet
    """

    def __init__(self, sessions: Sequence[Session]) -> None:
        if not sessions:
            raise PlumHostError("no device is named; a fleet has one or more")
        self._sessions = list(sessions)
        self._failures: dict[int, PlumHostError] = {}
        self._done = [0] * len(sessions)
        self._bundle: Bundle | None = None

    @classmethod
    def open(cls, devices: Sequence[str], config: Any = None, **options: Any) -> Fleet:
        """Open all devices, as `Session.open` does; an error of one is an error of all."""
        sessions: list[Session] = []
        try:
            for device in devices:
                sessions.append(Session.open(device, config, **options))
            return cls(sessions)
        except BaseException:
            for session in sessions:
                session.close()
            raise

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Of all devices."""
        return tuple(self._sessions)

    @property
    def shares(self) -> list[Share]:
        """What each device did since it was loaded."""
        return [
            Share(session.name, self._done[number], _text(self._failures.get(number)))
            for number, session in enumerate(self._sessions)
        ]

    def load(self, bundle: Bundle) -> None:
        """Load a bundle on all devices; those that failed before are tried again."""
        self._failures.clear()
        self._done = [0] * len(self._sessions)
        for session in self._sessions:
            session.load(bundle)
        self._bundle = bundle

    def run(self, images: npt.ArrayLike, progress: Progress | None = None) -> RunResult:
        """As `Session.run`, on all devices."""
        bundle = self._loaded()
        checked = bundle.check_images(images)
        begin = time.monotonic()
        outputs, cycles = [], []
        for result in self.stream(checked):
            outputs.append(result.output)
            cycles.append(result.cycles)
            if progress is not None:
                progress(result.number + 1)
        seconds = time.monotonic() - begin
        stacked = np.stack(outputs) if outputs else no_output(bundle)
        return RunResult(stacked, np.array(cycles, np.int64), seconds)

    def stream(self, images: Iterable[npt.ArrayLike]) -> Iterator[ImageResult]:
        """Results in the order of the images, from whichever device.

        Raises what the last device failed with, when none is left.
        """
        self._loaded()
        left = [number for number in range(len(self._sessions)) if number not in self._failures]
        if not left:
            raise PlumHostError("no device is left; load the bundle again")
        work = _Work(iter(images), _AHEAD * len(left))
        threads = [
            threading.Thread(target=self._serve, args=(number, work), daemon=True)
            for number in left
        ]
        work.workers = len(threads)
        for thread in threads:
            thread.start()
        try:
            yield from work.results()
        finally:
            work.stop()
            for thread in threads:
                thread.join()

    def close(self) -> None:
        """Close all sessions. It may be called again."""
        for session in self._sessions:
            session.close()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _loaded(self) -> Bundle:
        if self._bundle is None:
            raise PlumHostError("no bundle is loaded; call load(bundle) first")
        return self._bundle

    def _serve(self, number: int, work: _Work) -> None:
        """One device: takes images as long as there are any, also those that others gave back."""
        session = self._sessions[number]
        held: deque[tuple[int, npt.ArrayLike]] = deque()
        try:
            while work.wait_for_more():
                for result in session.stream(work.take(held)):
                    place, _ = held.popleft()
                    self._done[number] += 1
                    work.give(replace(result, number=place))
        except ImageError as error:
            work.fail(error)
        except PlumHostError as error:
            self._failures[number] = error
            work.give_back(held, error)
        except BaseException as error:
            work.fail(error)


class _Work:
    """Images that are to be done and results that are to be yielded, shared by threads.

    *Members*: ``workers`` that are still there.
    """

    def __init__(self, images: Iterator[npt.ArrayLike], ahead: int) -> None:
        self.workers = 0
        self._images = images
        self._ahead = ahead
        self._lock = threading.Condition()
        self._next = 0  # image to be taken
        self._given = 0  # result to be yielded
        self._returned: deque[tuple[int, npt.ArrayLike]] = deque()
        self._results: dict[int, ImageResult] = {}
        self._exhausted = self._stopped = False
        self._error: BaseException | None = None

    def take(self, held: deque[tuple[int, npt.ArrayLike]]) -> Iterator[npt.ArrayLike]:
        """Images for one device; those that it has not done are in `held`."""
        while True:
            with self._lock:
                while not self._stopped and not self._returned and self._too_far() and not held:
                    self._lock.wait()
                if self._stopped or (not self._returned and self._too_far()):
                    return
                if self._returned:
                    entry = self._returned.popleft()
                elif self._exhausted:
                    return
                else:
                    try:
                        entry = self._next, next(self._images)
                    except StopIteration:
                        self._exhausted = True
                        self._lock.notify_all()
                        return
                    self._next += 1
                held.append(entry)
            yield entry[1]

    def _too_far(self) -> bool:
        return not self._exhausted and self._next - self._given >= self._ahead

    def wait_for_more(self) -> bool:
        """Whether there is, or may yet be, something to do for a device."""
        with self._lock:
            while not self._stopped:
                if self._returned or not self._exhausted:
                    return True
                if self._given + len(self._results) >= self._next:
                    return False
                self._lock.wait()
            return False

    def give(self, result: ImageResult) -> None:
        """A result has come."""
        with self._lock:
            self._results[result.number] = result
            self._lock.notify_all()

    def give_back(self, held: deque[tuple[int, npt.ArrayLike]], error: BaseException) -> None:
        """A device has failed: others are to do what it had."""
        with self._lock:
            self._returned.extend(held)
            self.workers -= 1
            if not self.workers:
                self._error = error
            self._lock.notify_all()

    def fail(self, error: BaseException) -> None:
        """What no device can help."""
        with self._lock:
            self._error = error
            self._stopped = True
            self._lock.notify_all()

    def stop(self) -> None:
        """Nobody wants more results."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def results(self) -> Iterator[ImageResult]:
        """All results, in order."""
        while True:
            with self._lock:
                while self._given not in self._results and self._error is None:
                    if self._exhausted and self._given == self._next:
                        return
                    self._lock.wait()
                if self._given not in self._results:
                    assert self._error is not None
                    raise self._error
                result = self._results.pop(self._given)
                self._given += 1
                self._lock.notify_all()
            yield result


def _text(error: Exception | None) -> str | None:
    return None if error is None else str(error)
