"""Into how many row parts each layer is split: as few cycles as the activation memories allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from plum_hw.config import ArrayConfig
from plum_hw.ir import Network

from .copies import Copy, plan_copies
from .geometry import Geometry
from .memory import Allocation, allocate

#: Estimated cycles of a layer with one of its geometries.
Cost = Callable[[Geometry], int]


@dataclass(frozen=True)
class Placement:
    """A split of all layers that fits. *Members*: ``geometries``; ``copies`` of each tensor,
    placed; ``vectors`` of activation memory in use.
    """

    geometries: tuple[Geometry, ...]
    copies: dict[str, list[Copy]]
    vectors: int


def place_network(
    config: ArrayConfig, network: Network, choices: Sequence[Sequence[Geometry]], cost: Cost
) -> Placement:
    """The best split that fits, found step by step.

    choices : geometries of each layer to choose from
    cost : of a geometry

    Begins with the best choice of every layer. While that is too much for the memories, the one
    layer is changed that gains most vectors for its cycles. Raises the `Refusal` of the last
    attempt where no change helps any more.
    """
    costs: list[Mapping[int, int]] = [
        {geometry.parts: cost(geometry) for geometry in each} for each in choices
    ]
    chosen = [
        min(each, key=lambda geometry: (table[geometry.parts], -geometry.parts))
        for each, table in zip(choices, costs, strict=True)
    ]
    copies, allocation = _attempt(config, network, chosen)
    while allocation.refusal is not None:
        best: tuple[float, int, Geometry] | None = None
        for index, each in enumerate(choices):
            for geometry in each:
                if geometry is chosen[index]:
                    continue
                trial = [*chosen[:index], geometry, *chosen[index + 1 :]]
                gain = allocation.excess - _attempt(config, network, trial)[1].excess
                loss = costs[index][geometry.parts] - costs[index][chosen[index].parts]
                if gain > 0 and (best is None or gain / max(loss, 1) > best[0]):
                    best = (gain / max(loss, 1), index, geometry)
        if best is None:
            raise allocation.refusal
        chosen[best[1]] = best[2]
        copies, allocation = _attempt(config, network, chosen)
    return Placement(tuple(chosen), copies, allocation.vectors)


def _attempt(
    config: ArrayConfig, network: Network, chosen: Sequence[Geometry]
) -> tuple[dict[str, list[Copy]], Allocation]:
    copies = plan_copies(config, network, chosen)
    return copies, allocate(config, network, chosen, copies)
