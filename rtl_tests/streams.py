"""cocotb's side of the benches: clock, and streams that are driven and checked in every cycle."""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly


class Part(Protocol):
    """Something that takes part in every cycle."""

    def drive(self) -> None:
        """Set inputs of the component, long before the rising edge."""

    def sample(self) -> None:
        """Look at what the rising edge will see."""


class Source:
    """Feeds a stream; `gap` is the chance of a cycle without a payload.

    `offered` are the cycles in which each payload was offered first.
    """

    def __init__(self, dut: Any, name: str, rng: random.Random, gap: float) -> None:
        self._payload = getattr(dut, f"{name}__payload")
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._rng, self._gap = rng, gap
        self._current: int | None = None
        self.queue: deque[int] = deque()
        self.offered: list[int] = []
        self._cycle = -1
        self._valid.value = 0

    def send(self, payloads: Iterable[int]) -> None:
        self.queue.extend(payloads)

    @property
    def idle(self) -> bool:
        return self._current is None and not self.queue

    def drive(self) -> None:
        self._cycle += 1
        if self._current is None and self.queue and self._rng.random() >= self._gap:
            self._current = self.queue.popleft()
            self.offered.append(self._cycle)
            self._payload.value = self._current
        self._valid.value = self._current is not None

    def sample(self) -> None:
        if self._current is not None and int(self._ready.value):
            self._current = None


class Sink:
    """Takes a stream, and checks that a payload stays until it is taken.

    `times` are the cycles in which each payload was taken.
    """

    def __init__(self, dut: Any, name: str, rng: random.Random, gap: float) -> None:
        self._payload = getattr(dut, f"{name}__payload")
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._rng, self._gap = rng, gap
        self._offered: int | None = None
        self._takes = False
        self.received: list[int] = []
        self.times: list[int] = []
        self._cycle = -1
        self._ready.value = 0

    def drive(self) -> None:
        self._cycle += 1
        self._takes = self._rng.random() >= self._gap
        self._ready.value = self._takes

    def forget(self) -> None:
        """What was offered may be withdrawn: the component is reset."""
        self._offered = None

    def sample(self) -> None:
        offer = int(self._payload.value) if int(self._valid.value) else None
        if self._offered is not None:
            assert offer == self._offered, f"offered {self._offered}, then {offer}"
        self._offered = None if self._takes else offer
        if self._takes and offer is not None:
            self.received.append(offer)
            self.times.append(self._cycle)


class Bench:
    """A component under reset and clock, and the parts that play with it."""

    def __init__(self, dut: Any, gap: float) -> None:
        self.dut = dut
        seed = int(os.environ["SEED"])
        cocotb.log.info("seed %d, gaps %s", seed, gap)
        self.rng = random.Random(seed)
        self.gap = gap
        self.parts: list[Part] = []
        self.cycles = 0

    def source(self, name: str) -> Source:
        part = Source(self.dut, name, self.rng, self.gap)
        self.parts.append(part)
        return part

    def sink(self, name: str) -> Sink:
        part = Sink(self.dut, name, self.rng, self.gap)
        self.parts.append(part)
        return part

    async def reset(self) -> None:
        self.dut.rst.value = 1
        Clock(self.dut.clk, 10, unit="ns").start()
        for _ in range(4):
            await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0

    async def cycle(self) -> None:
        await FallingEdge(self.dut.clk)
        for part in self.parts:
            part.drive()
        await ReadOnly()
        for part in self.parts:
            part.sample()
        self.cycles += 1

    async def until(self, sink: Sink, count: int, patience: int) -> None:
        """Go on until `count` payloads have come."""
        end = self.cycles + patience
        while len(sink.received) < count:
            assert self.cycles < end, f"{len(sink.received)} of {count} after {patience} cycles"
            await self.cycle()

    async def settle(self, cycles: int = 40) -> None:
        """Long enough for anything that should not come."""
        for _ in range(cycles):
            await self.cycle()


def planted(data: list[int]) -> list[int]:
    """The expectation; with FAULT set a wrong one, to see that the bench can fail."""
    if os.environ.get("FAULT"):
        data = [*data[:-2], data[-2] ^ 1, data[-1]]
    return data
