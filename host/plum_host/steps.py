"""How an image goes through a network: what is written before each step, what runs, what is read.

The host holds the image, the output and whatever tensors do not stay in the device as bytes of one
memory (*host memory*), and looks up which byte belongs where: it never packs and never computes.
Nothing here touches a device: whoever drives one carries out the turns and gives back what was
read.
Ref: docs/architecture.md, "Bundle".
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from plum_host.errors import PlumHostError
from plum_host.protocol import BROADCAST, SPACE_BYTES, Space

if TYPE_CHECKING:
    from plum_host.bundle import Bundle, Map

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Place:
    """A tensor in host memory, with zeros around each map.

    *Members*: ``at``, its first byte; ``shape`` (C, H, W); ``margins``, rows above and below,
    columns left and right.
    """

    at: int
    shape: tuple[int, int, int]
    margins: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def padded(self) -> tuple[int, int, int]:
        """The shape with margins."""
        channels, height, width = self.shape
        top, bottom, left, right = self.margins
        return channels, top + height + bottom, left + width + right

    @property
    def size(self) -> int:
        """Bytes, margins included."""
        channels, height, width = self.padded
        return channels * height * width

    @property
    def pitch(self) -> tuple[int, int]:
        """Bytes from one channel to the next, and from one row to the next."""
        _, height, width = self.padded
        return height * width, width

    def index(self, channel: int, row: int, column: int) -> int:
        """Where an element is; rows and columns may lie in the margins."""
        plane, pitch = self.pitch
        top, _, left, _ = self.margins
        return self.at + channel * plane + (top + row) * pitch + left + column

    def of(self, memory: Bytes) -> Bytes:
        """The tensor, a view of the memory (C, H, W)."""
        top, _, left, _ = self.margins
        _, height, width = self.shape
        whole = memory[self.at : self.at + self.size].reshape(self.padded)
        return whole[:, top : top + height, left : left + width]


@dataclass(frozen=True)
class Step:
    """One run of a part.

    *Members*: ``part``; ``writes`` and ``reads``, maps with the offset in host memory that is added
    to their places; ``results``, words of RESULT memory that are read and the offset of the words
    to which they are added.
    """

    part: int
    writes: tuple[tuple[int, int], ...] = ()
    reads: tuple[tuple[int, int], ...] = ()
    results: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Write:
    """ACTIVATION words for a cluster, or for all (`BROADCAST`)."""

    cluster: int
    address: int
    data: bytes


@dataclass(frozen=True)
class Read:
    """Words to be read."""

    space: Space
    cluster: int
    address: int
    words: int

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        return self.words * SPACE_BYTES[self.space]


@dataclass(frozen=True)
class Turn:
    """What a device does for one step: take the writes, run the part, give the reads."""

    part: int
    writes: tuple[Write, ...]
    reads: tuple[Read, ...]


@dataclass(frozen=True)
class MapUse:
    """Which clusters a map concerns. *Members*: ``address``, ``words`` of ACTIVATION memory;
    ``clusters``, those with any byte; ``alike``: all clusters take the same bytes.
    """

    address: int
    words: int
    clusters: tuple[int, ...]
    alike: bool

    @classmethod
    def of(cls, address: int, places: Map) -> MapUse:
        """Of a map [clusters, bytes]."""
        used = tuple(np.flatnonzero((places >= 0).any(axis=1)).tolist())
        alike = len(used) == len(places) > 1 and bool((places == places[0]).all())
        return cls(address, places.shape[1] // SPACE_BYTES[Space.ACTIVATION], used, alike)


def host_memory(bundle: Bundle) -> Bytes:
    """Host memory before an image. It has one byte more, a zero: what places of -1 find."""
    return np.zeros(bundle.host_bytes + 1, np.uint8)


def turns(
    bundle: Bundle, image: npt.ArrayLike, memory: Bytes | None = None
) -> Generator[Turn, Sequence[bytes], npt.NDArray[Any]]:
    """The turns of one image, uint8 (C, H, W), in their order.

    memory : `host_memory`, for whoever wants to look into it

    Each expects the bytes of its ``reads`` to be sent back. Returns the output: int32 logits [K],
    or a uint8 map (C, H, W). Raises `ImageError` for a wrong image, `PlumHostError` for an answer
    of another size.
    """
    (checked,) = bundle.check_images(np.asarray(image)[None])
    memory = host_memory(bundle) if memory is None else memory
    bundle.input_place.of(memory)[:] = checked
    for step in bundle.steps:
        reads = _reads(bundle, step)
        answers = yield Turn(step.part, tuple(_writes(bundle, step, memory)), tuple(reads))
        _take(bundle, step, memory, reads, answers)
    place = bundle.output_place
    if bundle.logits:
        data: Any = memory[place.at : place.at + 4 * place.shape[0]].copy()
        return np.asarray(data.view("<i4").astype(np.int32))
    return place.of(memory).copy()


def no_output(bundle: Bundle) -> npt.NDArray[Any]:
    """An empty array of outputs [0, ...], of the right shape and type."""
    shape = bundle.output_place.shape
    if bundle.logits:
        return np.zeros((0, shape[0]), np.int32)
    return np.zeros((0, *shape), np.uint8)


def _writes(bundle: Bundle, step: Step, memory: Bytes) -> list[Write]:
    found = []
    for number, offset in step.writes:
        use, places = bundle.uses[number], bundle.maps[number]
        clusters = (0,) if use.alike else use.clusters
        for cluster in clusters:
            row = places[cluster]
            # memory[-1] is the zero.
            data = memory[np.where(row < 0, -1, row + offset)].tobytes()
            found.append(Write(BROADCAST if use.alike else cluster, use.address, data))
    return found


def _reads(bundle: Bundle, step: Step) -> list[Read]:
    found = [
        Read(Space.ACTIVATION, cluster, use.address, use.words)
        for use in (bundle.uses[number] for number, _ in step.reads)
        for cluster in use.clusters
    ]
    return found + [Read(Space.RESULT, 0, 0, words) for words, _ in step.results]


def _take(
    bundle: Bundle, step: Step, memory: Bytes, reads: Sequence[Read], answers: Sequence[bytes]
) -> None:
    """Put what was read in its places."""
    if [len(answer) for answer in answers] != [read.size for read in reads]:
        raise PlumHostError(
            f"{sum(map(len, answers))} bytes were read; the step has "
            f"{sum(read.size for read in reads)}"
        )
    left = iter(answers)
    for number, offset in step.reads:
        for cluster in bundle.uses[number].clusters:
            row = bundle.maps[number][cluster]
            kept = np.flatnonzero(row >= 0)
            memory[row[kept] + offset] = np.frombuffer(next(left), np.uint8)[kept]
    for words, offset in step.results:
        # A layer in several ranges of channels has its logits in as many summands.
        held = memory[offset : offset + 4 * words].view("<i4")
        held += np.frombuffer(next(left), "<i4")
