"""Places the copies of all tensors in activation memory by their lifetimes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from plum_hw.config import ArrayConfig
from plum_hw.ir import Network

from .copies import HOST, Copy
from .geometry import Geometry
from .problems import Refusal


@dataclass
class _Buffer:
    """Copies that lie side by side, or in one another's place.

    *Members*: ``copies``, each with its offset in the buffer; ``size`` in vectors; ``first`` and
    ``last`` layer during which it is in use (-1: before the first layer); ``base``.
    """

    copies: list[tuple[int, Copy]]
    size: int
    first: int
    last: int
    base: int = 0

    def meets(self, other: _Buffer) -> bool:
        """Whether both are in use at some time."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Allocation:
    """What placing the copies came to.

    *Members*: ``vectors`` in use, from 0 on; ``excess``, how far from fitting: vectors that each
    copy lies beyond the memory, and those that every layer needs beyond it, summed; ``live``, what
    every layer needs, summed; ``refusal``: what is needed and where, or None if it fits.
    """

    vectors: int
    excess: int
    live: int
    refusal: Refusal | None


def allocate(
    config: ArrayConfig,
    network: Network,
    layers: Sequence[Sequence[Geometry]],
    copies: dict[str, list[Copy]],
) -> Allocation:
    """Give every copy its base, the same in all clusters.

    The copies of an input lie side by side, so that the host writes them at once.
    """
    buffers = _buffers(network, layers, copies)
    # Greedy by size is the better rule for most networks, by time for chains.
    rules: tuple[Callable[[_Buffer], tuple[int, int]], ...] = (
        lambda buffer: (-buffer.size, buffer.first),
        lambda buffer: (buffer.first, -buffer.size),
        lambda buffer: (buffer.first - buffer.last, -buffer.size),
    )
    tries = [(rule, depth) for depth in (None, config.act_depth) for rule in rules]
    results = [_place(sorted(buffers, key=rule), depth) for rule, depth in tries]
    best = min(results)
    rule, depth = tries[results.index(best)]
    _place(sorted(buffers, key=rule), depth)
    live = [sum(b.size for b in buffers if b.first <= i <= b.last) for i in range(len(layers))]
    if best > config.act_depth:
        needed = [*live, *(buffer.base + buffer.size for buffer in buffers)]
        excess = sum(max(0, vectors - config.act_depth) for vectors in needed)
        return Allocation(best, excess, sum(live), _too_small(config, layers, buffers, best))
    for buffer in buffers:
        for offset, copy in buffer.copies:
            copy.layout = copy.layout.at(buffer.base + offset)
    return Allocation(best, 0, sum(live), None)


def _buffers(
    network: Network, layers: Sequence[Sequence[Geometry]], copies: dict[str, list[Copy]]
) -> list[_Buffer]:
    order = {regions[0].layer.name: index for index, regions in enumerate(layers)}

    def last_use(copy: Copy) -> int:
        return max(len(layers) if reader == HOST else order[reader[0]] for reader in copy.readers)

    buffers = []
    for spec in network.inputs:
        image = _Buffer([], 0, -1, -1)
        for copy in copies[spec.name]:
            image.copies.append((image.size, copy))
            image.size += copy.layout.vectors
            image.last = max(image.last, last_use(copy))
        buffers.append(image)
    for index, regions in enumerate(layers):
        outputs = list(copies[regions[0].layer.name])
        for geometry in regions:
            reused = _in_place(index, geometry, outputs, buffers)
            if reused is not None:
                buffer, offset, copy = reused
                outputs = [other for other in outputs if other is not copy]
                buffer.copies.append((offset, copy))
                buffer.last = last_use(copy)
        for copy in outputs:
            buffers.append(_Buffer([(0, copy)], copy.layout.vectors, index, last_use(copy)))
    return buffers


def _in_place(
    index: int, geometry: Geometry, outputs: list[Copy], buffers: list[_Buffer]
) -> tuple[_Buffer, int, Copy] | None:
    """A residual that dies here and whose place a copy of the output can take.

    Each residual vector is read right before the output's vector of the same row and channel is
    written, and halos are not read, so the same layout is all that is needed.
    """
    name = geometry.layer.name
    for buffer in buffers:
        offset, old = buffer.copies[-1]
        if (name, 1, geometry.region) not in old.readers or buffer.last != index:
            continue
        if any(reader[:2] == (name, 0) for reader in old.readers):
            continue
        if buffer.first < 0 and len(buffer.copies) > 1:
            continue
        for copy in outputs:
            if copy.layout.at(0) == old.layout.at(0):
                return buffer, offset, copy
    return None


def _place(buffers: Sequence[_Buffer], depth: int | None) -> int:
    """Place buffers one after another, each in the smallest gap that is free during its life.
    Returns the vectors in use.

    depth : vectors below which every second layer's lie as high as they can, so that those of a
        chain of layers take turns at both ends; None to place all as low as they can
    """
    placed: list[_Buffer] = []
    top = 0
    for buffer in buffers:
        taken = sorted(
            (other.base, other.base + other.size) for other in placed if other.meets(buffer)
        )
        gaps, end = [], 0
        for low, high in taken:
            if low - end >= buffer.size:
                gaps.append((low - end, end, low))
            end = max(end, high)
        high_end = depth if depth is not None and buffer.first % 2 else 0
        if high_end - end >= buffer.size:
            gaps.append((high_end - end, end, high_end))
        _, base, limit = min(gaps, default=(0, end, end + buffer.size))
        buffer.base = limit - buffer.size if high_end else base
        top = max(top, buffer.base + buffer.size)
        placed.append(buffer)
    return top


def _too_small(
    config: ArrayConfig,
    layers: Sequence[Sequence[Geometry]],
    buffers: Sequence[_Buffer],
    needed: int,
) -> Refusal:
    """Names the layer at which most is in use, and what is."""

    def live(index: int) -> list[_Buffer]:
        return [buffer for buffer in buffers if buffer.first <= index <= buffer.last]

    peak = max(range(len(layers)), key=lambda i: sum(buffer.size for buffer in live(i)))
    parts = [
        f"{buffer.copies[-1][1].tensor} {buffer.size}"
        for buffer in sorted(live(peak), key=lambda buffer: -buffer.size)
    ]
    return Refusal(
        layers[peak][0].layer.name,
        f"activation memory needs {needed} vectors and has {config.act_depth}; during this layer "
        f"it holds {', '.join(parts)}",
        "use an array with a deeper activation memory (act_depth) or more lanes, fewer channels or "
        "a smaller image",
        size=True,
    )
