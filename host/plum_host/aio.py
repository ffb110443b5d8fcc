"""Sessions for asyncio: the same work, in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

import numpy.typing as npt

from plum_host.bundle import Bundle
from plum_host.identity import Identity
from plum_host.session import ImageResult, Progress, RunResult, Session

_T = TypeVar("_T")
#: Results that may wait for a slow consumer.
_WAITING = 64


class AsyncSession:
    """A `Session` whose methods are coroutines; one at a time is carried out, in turn.

    `async with await AsyncSession.open("golden", "tiny") as session: ...`
    """

    def __init__(self, session: Session, thread: ThreadPoolExecutor | None = None) -> None:
        self._session = session
        self._thread = thread or ThreadPoolExecutor(1, "plum session")

    @classmethod
    async def open(cls, device: str, config: Any = None, **options: Any) -> AsyncSession:
        """As `Session.open`."""
        thread = ThreadPoolExecutor(1, "plum session")
        loop = asyncio.get_running_loop()
        try:
            session = await loop.run_in_executor(
                thread, lambda: Session.open(device, config, **options)
            )
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(session, thread)

    async def identify(self) -> Identity:
        """As `Session.identify`."""
        return await self._call(self._session.identify)

    async def load(self, bundle: Bundle) -> None:
        """As `Session.load`."""
        await self._call(lambda: self._session.load(bundle))

    async def verify(self) -> int:
        """As `Session.verify`."""
        return await self._call(self._session.verify)

    async def run(self, images: npt.ArrayLike, progress: Progress | None = None) -> RunResult:
        """As `Session.run`; `progress` is called in the session's thread."""
        return await self._call(lambda: self._session.run(images, progress))

    async def counters(self) -> dict[str, int]:
        """As `Session.counters`."""
        return await self._call(self._session.counters)

    async def layer_cycles(self) -> list[int]:
        """As `Session.layer_cycles`."""
        return await self._call(self._session.layer_cycles)

    async def stream(
        self,
        images: Iterable[npt.ArrayLike] | AsyncIterable[npt.ArrayLike],
        *,
        depth: int | None = None,
    ) -> AsyncIterator[ImageResult]:
        """As `Session.stream`, of images from an iterator of either kind."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[ImageResult | BaseException | None] = asyncio.Queue(_WAITING)
        left = False

        def put(item: ImageResult | BaseException | None) -> None:
            asyncio.run_coroutine_threadsafe(queue.put(item), loop).result()

        def work() -> None:
            source = images if isinstance(images, Iterable) else _pulled(images, loop)
            last: BaseException | None = None
            try:
                for result in self._session.stream(source, depth=depth):
                    put(result)
                    if left:
                        break
            except BaseException as error:
                last = error
            put(last)

        task = loop.run_in_executor(self._thread, work)
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            left = True
            while not task.done():
                # Room for what the thread still puts.
                while not queue.empty():
                    queue.get_nowait()
                await asyncio.sleep(0.001)
            await task

    async def close(self) -> None:
        """As `Session.close`."""
        await self._call(self._session.close)
        self._thread.shutdown(wait=False)

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _call(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


def _pulled(
    images: AsyncIterable[npt.ArrayLike], loop: asyncio.AbstractEventLoop
) -> Iterator[npt.ArrayLike]:
    """An asynchronous iterator, taken from in another thread."""
    iterator = aiter(images)

    async def take() -> tuple[bool, Any]:
        try:
            return True, await anext(iterator)
        except StopAsyncIteration:
            return False, None

    while True:
        there, image = asyncio.run_coroutine_threadsafe(take(), loop).result()
        if not there:
            return
        yield image
