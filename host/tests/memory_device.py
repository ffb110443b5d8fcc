"""A device that is memories behind the protocol: its run is simple arithmetic on them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from plum_host.packets import PacketParser, encode
from plum_host.protocol import (
    BROADCAST,
    LAYER_COUNTERS,
    MAGIC,
    PROTOCOL_VERSION,
    SPACE_BYTES,
    Counter,
    Op,
    Space,
    Status,
)


@dataclass(frozen=True)
class Write:
    """A WRITE as it came."""

    space: Space
    cluster: int
    address: int
    words: int


class MemoryDevice:
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
        self._identity = MAGIC + bytes([PROTOCOL_VERSION, clusters]) + bytes.fromhex(digest)
        self._identity += (1040).to_bytes(2, "little")
        self.memories = [
            {space: np.zeros(words * SPACE_BYTES[space], np.uint8) for space in Space}
            for _ in range(clusters)
        ]
        self.writes: list[Write] = []
        self.runs: list[int] = []
        self.forgets: Space | None = None
        self._parser = PacketParser(1040)

    def feed(self, data: bytes) -> bytes:
        answers = []
        for body in self._parser.feed(data):
            assert body is not None
            answers.append(body[:1] + bytes([Status.OK]) + self._serve(body[1], body[2:]))
        return b"".join(encode(answer) for answer in answers)

    def _serve(self, op: int, arguments: bytes) -> bytes:
        if op == Op.IDENTIFY:
            return self._identity
        if op == Op.WRITE:
            number, cluster, address = struct.unpack_from("<BBI", arguments)
            space = Space(number)
            data = np.frombuffer(arguments[6:], np.uint8)
            begin = address * SPACE_BYTES[space]
            self.writes.append(Write(space, cluster, address, len(data) // SPACE_BYTES[space]))
            chosen = self.memories if cluster == BROADCAST else [self.memories[cluster]]
            for memory in chosen if space != self.forgets else ():
                memory[space][begin : begin + len(data)] = data
        if op == Op.READ:
            number, cluster, address, count = struct.unpack("<BBIH", arguments)
            size = SPACE_BYTES[Space(number)]
            memory = self.memories[cluster][Space(number)]
            return memory[address * size : (address + count) * size].tobytes()
        if op == Op.RUN:
            address, layers = struct.unpack("<HH", arguments)
            assert address == 0
            return self._run(layers)
        return b""

    def _run(self, layers: int) -> bytes:
        self.runs.append(layers)
        first = [memory[Space.CODE].view("<u4")[0] for memory in self.memories]
        for memory, value in zip(self.memories, first, strict=True):
            memory[Space.ACTIVATION] += np.uint8(value)
        device = self.memories[0]
        results = device[Space.RESULT].view("<u4")
        results[:] = sum(memory[Space.ACTIVATION][: len(results)] for memory in self.memories)
        cycles = int(first[0]) + np.arange(layers)
        counters = device[Space.COUNTER].view("<u4")
        counters[Counter.CYCLES] = cycles.sum()
        counters[Counter.BEATS] = cycles.sum() - layers
        counters[LAYER_COUNTERS : LAYER_COUNTERS + layers] = cycles
        return struct.pack("<IH", cycles.sum(), 0)
