"""Into how many row parts each layer is split: as few cycles as the activation memories allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from plum_hw.config import ArrayConfig
from plum_hw.ir import Network

from .copies import Copy, plan_copies, tensor_copies
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


#: Number of the choice of every layer.
_Numbers = tuple[int, ...]


class _Search:
    """Tries choices: what one layer takes depends on its own choice and those of its readers, so
    it is estimated once for each of these; a trial's copies are placed only where it matters.
    """

    def __init__(
        self,
        config: ArrayConfig,
        network: Network,
        choices: Sequence[Sequence[Choice]],
        cost: Cost,
    ) -> None:
        self._config = config
        self._network = network
        self._choices = choices
        self._cost = cost
        names = [layer.name for layer in network.layers]
        self._readers = [
            [index for index, layer in enumerate(network.layers) if name in layer.inputs]
            for name in names
        ]
        self._costs: dict[tuple[int, _Numbers], int] = {}
        self._allocations: dict[_Numbers, Allocation] = {}

    def first(self) -> _Numbers:
        """The best choice of every layer by itself."""
        best = []
        for each in self._choices:
            alone = [self._cost(choice, ()) for choice in each]
            best.append(min(range(len(each)), key=lambda n: (alone[n], -each[n][0].parts)))
        return tuple(best)

    def layers(self, numbers: _Numbers) -> tuple[Choice, ...]:
        """The choices of these numbers."""
        return tuple(each[number] for each, number in zip(self._choices, numbers, strict=True))

    def cycles(self, numbers: _Numbers) -> int:
        """Estimated cycles of all layers."""
        total = 0
        for index, readers in enumerate(self._readers):
            key = (index, (numbers[index], *[numbers[reader] for reader in readers]))
            if key not in self._costs:
                self._costs[key] = self._layer_cycles(index, numbers)
            total += self._costs[key]
        return total

    def _layer_cycles(self, index: int, numbers: _Numbers) -> int:
        readers = [
            geometry
            for reader in self._readers[index]
            for geometry in self._choices[reader][numbers[reader]]
        ]
        name = self._network.layers[index].name
        choice = self._choices[index][numbers[index]]
        copies = tensor_copies(self._config, self._network, name, readers, choice)
        return self._cost(choice, [copy.layout for copy in copies])

    def allocation(self, numbers: _Numbers) -> Allocation:
        """What placing the copies comes to."""
        if numbers not in self._allocations:
            self._allocations[numbers] = self.place(numbers)[1]
        return self._allocations[numbers]

    def place(self, numbers: _Numbers) -> tuple[dict[str, list[Copy]], Allocation]:
        """The copies, and what placing them comes to."""
        layers = self.layers(numbers)
        copies = plan_copies(self._config, self._network, layers)
        return copies, allocate(self._config, self._network, layers, copies)

    def changes(self, numbers: _Numbers, layers: Sequence[int] | None = None) -> Iterator[_Numbers]:
        """Each way to change one layer, or one of some layers."""
        for index in range(len(numbers)) if layers is None else layers:
            for number in range(len(self._choices[index])):
                if number != numbers[index]:
                    yield (*numbers[:index], number, *numbers[index + 1 :])


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
    search = _Search(config, network, choices, cost)
    now = _improved(search, _fitting(search, search.first()))
    copies, allocation = search.place(now)
    return Placement(search.layers(now), copies, allocation.vectors)


def _fitting(search: _Search, now: _Numbers) -> _Numbers:
    """A choice that fits.

    Where no change brings it nearer to fitting, one is made that at least has less to be placed:
    several layers may stand in the way.
    """
    while (refusal := search.allocation(now).refusal) is not None:
        here = search.allocation(now)
        best: tuple[bool, float, _Numbers] | None = None
        for trial in search.changes(now):
            there = search.allocation(trial)
            nearer = here.excess - there.excess
            gain = nearer or here.live - there.live
            value = (nearer > 0, gain / max(search.cycles(trial) - search.cycles(now), 1))
            if nearer >= 0 and gain > 0 and (best is None or value > best[:2]):
                best = (*value, trial)
        if best is None:
            raise refusal
        now = best[2]
    return now


def _improved(search: _Search, now: _Numbers) -> _Numbers:
    """A choice that fits and takes fewer cycles, as long as changing one layer, or one and another
    nearby, finds any: what was changed to make room may not have been needed in the end.
    """

    def quicker(trials: Iterator[_Numbers]) -> _Numbers | None:
        """The quickest that fits."""
        limit = search.cycles(now)
        tried = [(cycles, trial) for trial in trials if (cycles := search.cycles(trial)) < limit]
        tried.sort(key=lambda each: each[0])
        return next((trial for _, trial in tried if search.allocation(trial).refusal is None), None)

    while True:
        found = quicker(search.changes(now))
        for index in range(len(now) if found is None else 0):
            near = range(index + 1, min(index + 1 + _DISTANCE, len(now)))
            found = found or quicker(
                second
                for first in search.changes(now, [index])
                for second in search.changes(first, near)
            )
        if found is None:
            return now
        now = found
