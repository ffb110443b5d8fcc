"""A device that is memories behind the protocol: its run is simple arithmetic on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from plum_host.protocol import (
    LAYER_COUNTERS,
    SPACE_BYTES,
    Counter,
    Op,
    Space,
)
from plum_hw.config import ArrayConfig
from plum_hw.golden.device import GoldenDevice


@dataclass(frozen=True)
class Write:
    """A WRITE as it came; cluster None: all."""

    space: Space
    cluster: int | None
    address: int
    words: int


class Memories:
    """In place of a golden machine; see `MemoryDevice`."""

    def __init__(self, clusters: int, words: int) -> None:
        self.memories = [
            {space: np.zeros(words * SPACE_BYTES[space], np.uint8) for space in Space}
            for _ in range(clusters)
        ]
        self.writes: list[Write] = []
        self.runs: list[int] = []
        self.forgets: Space | None = None
        self.counters: Any = self.memories[0][Space.COUNTER].view("<u4")

    def write(self, space: Space, address: int, data: bytes, cluster: int | None) -> None:
        begin = address * SPACE_BYTES[space]
        self.writes.append(Write(space, cluster, address, len(data) // SPACE_BYTES[space]))
        chosen = self.memories if cluster is None else [self.memories[cluster]]
        for memory in chosen if space != self.forgets else ():
            memory[space][begin : begin + len(data)] = np.frombuffer(data, np.uint8)

    def read(self, space: Space, address: int, count: int, cluster: int) -> bytes:
        size = SPACE_BYTES[space]
        memory = self.memories[0 if space in (Space.RESULT, Space.COUNTER) else cluster]
        return memory[space][address * size : (address + count) * size].tobytes()

    def run(self, program: int, layers: int, results_at: int) -> None:
        assert program == 0
        self.runs.append(layers)
        first = [memory[Space.CODE].view("<u4")[0] for memory in self.memories]
        for memory, value in zip(self.memories, first, strict=True):
            memory[Space.ACTIVATION] += np.uint8(value)
        results = self.memories[0][Space.RESULT].view("<u4")
        held = [memory[Space.ACTIVATION][: len(results)] for memory in self.memories]
        sums = np.sum(held, axis=0)
        results[results_at:] = sums[: len(results) - results_at]
        cycles = int(first[0]) + np.arange(layers)
        self.counters[Counter.CYCLES] = cycles.sum()
        self.counters[Counter.BEATS] = cycles.sum() - layers
        self.counters[LAYER_COUNTERS : LAYER_COUNTERS + layers] = cycles

    def keep_cycles(self, results_at: int) -> None:
        results = self.memories[0][Space.RESULT].view("<u4")
        results[results_at - 1] = self.counters[Counter.CYCLES]


class MemoryDevice(GoldenDevice):
    """Serves every request as a device does, and keeps a list of what it was asked to write.

    A run adds code word 0 of each cluster to all its activations; layer i of it takes word 0 of
    cluster 0 plus i cycles. The first results are those activations, summed over the clusters.

    Parameters
    ----------
    digest : that it says it has
    clusters : number of them
    words : of each memory of a cluster
    """

    def __init__(self, digest: str, clusters: int, words: int = 256) -> None:
        config = ArrayConfig(name="memories", clusters=clusters)
        super().__init__(config)
        self._identity = self._identity.replace(bytes.fromhex(config.digest), bytes.fromhex(digest))
        self._words = {space: words for space in Space}
        self.machine: Any = Memories(clusters, words)
        #: Requests that were carried out.
        self.served: list[Op] = []

    @property
    def memories(self) -> list[dict[Space, Any]]:
        """Of each cluster."""
        return self.machine.memories

    @property
    def writes(self) -> list[Write]:
        """What was written."""
        return self.machine.writes

    @property
    def runs(self) -> list[int]:
        """Layers of the runs."""
        return self.machine.runs

    def _serve(self, body: bytes) -> bytes:
        self.served.append(Op(body[1] & 15))
        return super()._serve(body)
