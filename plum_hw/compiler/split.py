"""Into how many row parts each layer is split: as few cycles as the activation memories allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from plum_hw.config import ArrayConfig
from plum_hw.ir import Network

from .copies import Copy, plan_copies
from .geometry import Geometry
from .memory import Allocation, allocate

#: The regions of rows that a layer is computed in.
Choice = tuple[Geometry, ...]
#: Estimated cycles of a layer.
Cost = Callable[[Choice], int]


@dataclass(frozen=True)
class Placement:
    """A split of all layers that fits. *Members*: ``layers``; ``copies`` of each tensor, placed;
    ``vectors`` of activation memory in use.
    """

    layers: tuple[Choice, ...]
    copies: dict[str, list[Copy]]
    vectors: int


def place_network(
    config: ArrayConfig, network: Network, choices: Sequence[Sequence[Choice]], cost: Cost
) -> Placement:
    """The best split that fits, found step by step.

    choices : for each layer
    cost : of a choice

    Begins with the best choice of every layer. While that is too much for the memories, the one
    layer is changed that gains most vectors for its cycles. Raises the `Refusal` of the last
    attempt where no change helps any more.
    """
    costs = [[cost(choice) for choice in each] for each in choices]
    chosen = [
        min(range(len(each)), key=lambda number: (costs[index][number], -each[number][0].parts))
        for index, each in enumerate(choices)
    ]

    def attempt(numbers: Sequence[int]) -> tuple[dict[str, list[Copy]], Allocation]:
        layers = [each[number] for each, number in zip(choices, numbers, strict=True)]
        copies = plan_copies(config, network, layers)
        return copies, allocate(config, network, layers, copies)

    copies, allocation = attempt(chosen)
    while allocation.refusal is not None:
        best: tuple[float, list[int]] | None = None
        for index, each in enumerate(choices):
            for number in range(len(each)):
                if number == chosen[index]:
                    continue
                trial = [*chosen[:index], number, *chosen[index + 1 :]]
                gain = allocation.excess - attempt(trial)[1].excess
                value = gain / max(costs[index][number] - costs[index][chosen[index]], 1)
                if gain > 0 and (best is None or value > best[0]):
                    best = (value, trial)
        if best is None:
            raise allocation.refusal
        chosen = best[1]
        copies, allocation = attempt(chosen)
    layers = tuple(each[number] for each, number in zip(choices, chosen, strict=True))
    return Placement(layers, copies, allocation.vectors)
