"""Several devices, and sessions for asyncio."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from plum_host.aio import AsyncSession
from plum_host.errors import ImageError, PlumHostError, TransportError
from plum_host.faults import Faults, FaultyTransport
from plum_host.fleet import Fleet
from plum_host.session import Session
from plum_host.transports import InProcessTransport
from plum_hw.golden.device import GoldenDevice

from .work import TINY, Work, logits_work


@pytest.fixture
def logits() -> Work:
    return logits_work()


def dying(after: int | None, seed: int = 0) -> Session:
    """A session whose line breaks after so many packets."""
    inner = InProcessTransport(f"device {after}", GoldenDevice(TINY))
    return Session(FaultyTransport(inner, Faults(dead_after=after, seed=seed)), timeout=0.05)


def test_images_are_spread_and_results_keep_their_order(logits: Work) -> None:
    images = np.concatenate([logits.images] * 40)
    with Fleet.open(["golden"] * 3, TINY) as fleet:
        fleet.load(logits.bundle)
        seen: list[int] = []
        result = fleet.run(images, seen.append)
        assert np.array_equal(result.outputs, np.concatenate([logits.outputs] * 40))
        assert (result.cycles == logits.bundle.manifest["predicted_cycles"]).all()
        assert seen == list(range(1, len(images) + 1))
        assert sum(share.images for share in fleet.shares) == len(images)
        assert fleet.run(images[:0]).outputs.shape == (0, *logits.outputs.shape[1:])


@pytest.mark.parametrize("seed", range(6))
def test_devices_that_die_leave_their_images_to_the_others(seed: int, logits: Work) -> None:
    rng = random.Random(seed)
    images = np.concatenate([logits.images] * 30)
    deaths = [rng.randrange(40, 120), rng.randrange(40, 120), None]
    rng.shuffle(deaths)
    with Fleet([dying(after) for after in deaths]) as fleet:
        fleet.load(logits.bundle)
        result = fleet.run(images)
        assert np.array_equal(result.outputs, np.concatenate([logits.outputs] * 30))
        assert sum(share.images for share in fleet.shares) == len(images)
        for after, share in zip(deaths, fleet.shares, strict=True):
            assert after is not None or share.failure is None
        failed = [share for share in fleet.shares if share.failure]
        assert all("planned fault" in str(share.failure) for share in failed)


def test_when_the_last_device_dies_its_error_is_raised(logits: Work) -> None:
    with Fleet([dying(60), dying(70)]) as fleet:
        fleet.load(logits.bundle)
        results = fleet.stream(np.concatenate([logits.images] * 100))
        seen = 0

        def watch() -> None:
            nonlocal seen
            for result in results:
                assert result.number == seen
                assert np.array_equal(result.output, logits.outputs[seen % 3])
                seen += 1

        with pytest.raises(TransportError, match="planned fault"):
            watch()
        assert seen > 0
        with pytest.raises(PlumHostError, match="no device is left"):
            next(fleet.stream(logits.images))


def test_wrong_images_and_left_streams(logits: Work) -> None:
    with Fleet.open(["golden"] * 2, TINY) as fleet:
        with pytest.raises(PlumHostError, match="no bundle is loaded"):
            fleet.run(logits.images)
        fleet.load(logits.bundle)
        with pytest.raises(ImageError, match="shape"):
            list(fleet.stream([logits.images[0][:, 1:]]))

        def broken() -> Iterator[np.ndarray]:
            yield logits.images[0]
            raise ValueError("the camera is gone")

        with pytest.raises(ValueError, match="camera is gone"):
            list(fleet.stream(broken()))
        stream = fleet.stream(np.concatenate([logits.images] * 100))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert np.array_equal(fleet.run(logits.images).outputs, logits.outputs)
    with pytest.raises(PlumHostError, match="no device is named"):
        Fleet([])


def test_a_device_that_cannot_be_opened_names_itself() -> None:
    with pytest.raises(TransportError, match="no-such-port"):
        Fleet.open(["golden", "/dev/no-such-port"], TINY)


def test_asyncio(logits: Work) -> None:
    async def images(count: int) -> AsyncIterator[np.ndarray]:
        for number in range(count):
            await asyncio.sleep(0)
            yield logits.images[number % 3]

    async def work() -> None:
        async with await AsyncSession.open("golden", TINY) as session:
            assert (await session.identify()).digest == TINY.digest
            await session.load(logits.bundle)
            assert await session.verify() > 0
            result = await session.run(logits.images)
            assert np.array_equal(result.outputs, logits.outputs)
            cycles = logits.bundle.manifest["predicted_cycles"]
            assert (await session.counters())["cycles"] == cycles
            assert sum(await session.layer_cycles()) == cycles
            numbers = []
            async for answer in session.stream(images(50)):
                assert np.array_equal(answer.output, logits.outputs[answer.number % 3])
                numbers.append(answer.number)
            assert numbers == list(range(50))
            async for answer in session.stream(np.concatenate([logits.images] * 100), depth=2):
                if answer.number == 4:
                    break
            with pytest.raises(ImageError):
                async for _ in session.stream([logits.images[0][:, 1:]]):
                    pass
            assert np.array_equal((await session.run(logits.images)).outputs, logits.outputs)

    asyncio.run(asyncio.wait_for(work(), 60))
    with pytest.raises(TransportError):
        asyncio.run(AsyncSession.open("/dev/no-such-port"))
