"""Into how many row parts each layer is split: as few cycles as the activation memories allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from plum_hw.config import ArrayConfig
from plum_hw.ir import Network

from .copies import Copy, plan_copies
from .geometry import Geometry
from .layout import TensorLayout
from .memory import Allocation, allocate

#: The regions of rows that a layer is computed in.
Choice = tuple[Geometry, ...]
#: Estimated cycles of a layer that writes these copies of its output.
Cost = Callable[[Choice, Sequence[TensorLayout]], int]

#: Layers between two that are changed together.
_DISTANCE = 3


@dataclass(frozen=True)
class Placement:
    """A split of all layers that fits. *Members*: ``layers``; ``copies`` of each tensor, placed;
    ``vectors`` of activation memory in use.
    """

    layers: tuple[Choice, ...]
    copies: dict[str, list[Copy]]
    vectors: int


@dataclass(frozen=True)
class _Trial:
    """A choice for every layer, by its number. *Members*: ``numbers``; ``cycles``, estimated;
    ``copies``; ``allocation``.
    """

    numbers: tuple[int, ...]
    cycles: int
    copies: dict[str, list[Copy]]
    allocation: Allocation


def place_network(
    config: ArrayConfig, network: Network, choices: Sequence[Sequence[Choice]], cost: Cost
) -> Placement:
    """A good split that fits, found step by step.

    choices : for each layer
    cost : of a choice

    Begins with the best choice of every layer by itself. While that is too much for the memories,
    the one layer is changed that gains most vectors for its cycles; then whatever still saves
    cycles. Raises the `Refusal` of the last attempt where no change helps any more.
    """

    def attempt(numbers: Sequence[int]) -> _Trial:
        layers = [each[number] for each, number in zip(choices, numbers, strict=True)]
        copies = plan_copies(config, network, layers)
        cycles = sum(
            cost(regions, [copy.layout for copy in copies[regions[0].layer.name]])
            for regions in layers
        )
        return _Trial(tuple(numbers), cycles, copies, allocate(config, network, layers, copies))

    alone = [[cost(choice, ()) for choice in each] for each in choices]
    now = attempt(
        [
            min(range(len(each)), key=lambda number: (alone[index][number], -each[number][0].parts))
            for index, each in enumerate(choices)
        ]
    )
    counts = [len(each) for each in choices]
    while now.allocation.refusal is not None:
        best: tuple[float, _Trial] | None = None
        for numbers in _changes(counts, now.numbers):
            trial = attempt(numbers)
            gain = now.allocation.excess - trial.allocation.excess
            value = gain / max(trial.cycles - now.cycles, 1)
            if gain > 0 and (best is None or value > best[0]):
                best = (value, trial)
        if best is None:
            raise now.allocation.refusal
        now = best[1]
    now = _improved(now, counts, attempt)
    # The last attempt's places are the ones that count.
    now = attempt(now.numbers)
    layers = tuple(each[number] for each, number in zip(choices, now.numbers, strict=True))
    return Placement(layers, now.copies, now.allocation.vectors)


def _changes(
    counts: Sequence[int], numbers: Sequence[int], layers: Sequence[int] | None = None
) -> Iterator[tuple[int, ...]]:
    """Each way to change one layer, or one of some layers."""
    for index in range(len(counts)) if layers is None else layers:
        for number in range(counts[index]):
            if number != numbers[index]:
                yield (*numbers[:index], number, *numbers[index + 1 :])


def _improved(
    now: _Trial, counts: Sequence[int], attempt: Callable[[Sequence[int]], _Trial]
) -> _Trial:
    """A choice that fits and takes fewer cycles, as long as changing one layer, or one and another
    nearby, finds any: what was changed to make room may not have been needed in the end.
    """

    def fitting(trials: Iterator[tuple[int, ...]]) -> _Trial | None:
        tried = [attempt(numbers) for numbers in trials]
        better = [
            each for each in tried if each.cycles < now.cycles and each.allocation.refusal is None
        ]
        return min(better, key=lambda each: each.cycles) if better else None

    while True:
        found = fitting(_changes(counts, now.numbers))
        for index in range(len(counts) if found is None else 0):
            near = range(index + 1, min(index + 1 + _DISTANCE, len(counts)))
            found = found or fitting(
                second
                for first in _changes(counts, now.numbers, [index])
                for second in _changes(counts, first, near)
            )
        if found is None:
            return now
        now = found
