"""Blocks of a cluster side by side in one top, and their ports as Python values."""

from __future__ import annotations

import json
import os
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import Module, Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.activation_memory import ActivationMemory
from plum_hw.gateware.cluster.decoder import Decoder
from plum_hw.gateware.cluster.drain import Drain
from plum_hw.gateware.cluster.emitter import Emitter
from plum_hw.gateware.cluster.fetcher import Fetcher
from plum_hw.gateware.cluster.lanes import Lanes
from plum_hw.gateware.cluster.requantizer import Requantizer
from plum_hw.gateware.cluster.sequencer import Sequencer
from plum_hw.gateware.cluster.serial_drain import SerialDrain
from plum_hw.gateware.cluster.walker import Walker
from plum_hw.gateware.write_bus import WriteBus
from rtl_tests.streams import Bench, Sink, Source

BLOCKS: dict[str, Callable[[ArrayConfig], wiring.Component]] = {
    "activation_memory": ActivationMemory,
    "decoder": Decoder,
    "drain": lambda config: Drain(config) if config.drain_lanes > 1 else SerialDrain(config),
    "emitter": Emitter,
    "fetcher": Fetcher,
    "lanes": Lanes,
    "requantizer": Requantizer,
    "sequencer": Sequencer,
    "walker": Walker,
    "write_bus": WriteBus,
}


class Together(wiring.Component):
    """The named blocks of one array, unconnected: one compilation serves all their benches."""

    def __init__(self, config: ArrayConfig, names: Sequence[str]) -> None:
        self._blocks = {name: BLOCKS[name](config) for name in names}
        super().__init__({name: Out(block.signature) for name, block in self._blocks.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, block in self._blocks.items():
            m.submodules[name] = block
            wiring.connect(m, block, wiring.flipped(getattr(self, name)))
        return m


class Codec:
    """Bits of a shape from and to Python values: dicts for structs, lists for arrays.

    Fields that are left out of a dict are packed as zero.
    """

    def __init__(self, shape: Any) -> None:
        try:
            layout = data.Layout.cast(shape)
        except TypeError:
            layout = None
            self._signed = Shape.cast(shape).signed
        self._fields = {key: (field.offset, Codec(field.shape)) for key, field in layout or ()}
        self._is_number = layout is None
        self._is_array = isinstance(layout, data.ArrayLayout)
        self._width = Shape.cast(shape).width

    def pack(self, value: Any) -> int:
        if self._is_number:
            return int(value) & ((1 << self._width) - 1)
        bits = 0
        for key, item in enumerate(value) if self._is_array else value.items():
            offset, codec = self._fields[key]
            bits |= codec.pack(item) << offset
        return bits

    def unpack(self, bits: int) -> Any:
        if self._is_number:
            bits &= (1 << self._width) - 1
            return bits - (1 << self._width) if self._signed and bits >> (self._width - 1) else bits
        values = {key: codec.unpack(bits >> at) for key, (at, codec) in self._fields.items()}
        return list(values.values()) if self._is_array else values


class BlockBench(Bench):
    """One block of a `Together`, with its ports by name.

    What is set between two cycles, when signals may only be read, takes effect in the next.
    """

    def __init__(self, dut: Any, block: str, gap: float = 0.0) -> None:
        super().__init__(dut, gap)
        self.config = ArrayConfig.from_dict(json.loads(os.environ["CONFIG"]))
        self.fault = bool(os.environ.get("FAULT"))
        self.block = BLOCKS[block](self.config)
        self._name = block
        self._codecs = {
            "__".join(map(str, path)): Codec(member.shape)
            for path, member, _ in self.block.signature.flatten(self.block)
        }
        self._handles = {name: getattr(dut, f"{block}__{name}") for name in self._codecs}
        self._later: dict[str, Any] = {}
        self._sampled = False
        self.parts.append(self)

    async def reset(self) -> None:
        await super().reset()
        # What is set from here on is set for whole cycles.
        await self.cycle()

    def drive(self) -> None:
        self._sampled = False
        self.set(**self._later)
        self._later.clear()

    def sample(self) -> None:
        self._sampled = True

    def set(self, **values: Any) -> None:
        if self._sampled:
            self._later.update(values)
            return
        for name, value in values.items():
            self._handles[name].value = self._codecs[name].pack(value)

    def get(self, name: str) -> Any:
        return self._codecs[name].unpack(int(self._handles[name].value))

    def source(self, name: str) -> Source:
        return super().source(f"{self._name}__{name}")

    def sink(self, name: str) -> Sink:
        return super().sink(f"{self._name}__{name}")

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability


class ReadOnlyMemory:
    """What a block reads: the word addressed `latency` cycles before.

    enable : port without which nothing new is read (with a latency of 1 only)
    """

    def __init__(
        self,
        bench: BlockBench,
        address: str,
        word: str,
        words: Sequence[int],
        latency: int,
        enable: str | None = None,
    ) -> None:
        self._bench, self._address, self._word = bench, address, word
        self._enable = enable
        self.words = words
        self._pending = deque([0] * latency)
        self._asked = 0
        bench.parts.append(self)

    def drive(self) -> None:
        address = self._pending.popleft()
        self._bench.set(**{self._word: self.words[address % len(self.words)]})

    def sample(self) -> None:
        self._asked = (
            self._bench.get(self._address)
            if self._enable is None or self._bench.get(self._enable)
            else self._asked
        )
        self._pending.append(self._asked)


def drain_job(rng: random.Random) -> dict[str, int]:
    """Any job, for blocks that hand it on."""
    return {
        "shift": rng.randrange(-8, 8),
        "op": rng.randrange(4),
        "negate": rng.randrange(2),
        "bank": rng.randrange(4),
    }


def emit_job(rng: random.Random, config: ArrayConfig) -> dict[str, int]:
    """Any job, for blocks that hand it on."""
    return {
        "filter": rng.randrange(1 << config.filter_bits),
        "bank": rng.randrange(4),
        "window_bank": rng.randrange(2),
        "residual_bank": rng.randrange(2),
        "last_filter": rng.randrange(2),
    }


def meaning(record: dict[str, Any]) -> dict[str, Any]:
    """A word or segment without what its flags make meaningless."""
    dropped = set()
    if not record["drain"]:
        dropped.add("drain_job")
    if not record["emit"]:
        dropped.add("emit_job")
    return {key: value for key, value in record.items() if key not in dropped}
