"""The points of a design space, and what is measured of each.

Cycles are those of the compiler's model, which the tests hold against the simulated gateware.
Resources are synthesised for one cluster and for two of a kind; what a further one takes is their
difference, for clusters are one module that is mapped once. The best points can be synthesised
whole (`exact`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from plum_hw.boards import board as find_board
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.errors import ConfigError
from plum_hw.flow.families import Resources
from plum_hw.ir import Network
from plum_hw.report.resources import synthesise_whole


@dataclass(frozen=True, kw_only=True)
class Point:
    """One array for a board.

    cycles : of an image; None where the network does not run there, and `why` says why
    resources : None where they were not measured
    fits : within the part
    best : no other point that fits is both quicker and smaller
    """

    config: ArrayConfig
    cycles: int | None = None
    why: str = ""
    resources: Resources | None = None
    share: float | None = None
    fits: bool = False
    best: bool = False
    exact: bool = False

    def as_dict(self, clock_hz: int) -> dict[str, Any]:
        """For JSON; `clock_hz` of the board."""
        knobs = ("clusters", "lanes", "act_bits", "act_depth", "write_buses")
        return {
            **{name: getattr(self.config, name) for name in knobs},
            "digest": self.config.digest,
            "cycles": self.cycles,
            "why_not": self.why or None,
            "frames_per_second": (
                None if self.cycles is None else round(clock_hz / self.cycles, 1)
            ),
            "resources": None if self.resources is None else self.resources.as_dict(),
            "share_of_part": None if self.share is None else round(self.share, 4),
            "fits": self.fits,
            "best": self.best,
            "resources_exact": self.exact,
        }


def space(
    base: ArrayConfig,
    *,
    clusters: Sequence[int],
    lanes: Sequence[int],
    act_bits: Sequence[int],
    act_depth: Sequence[int],
) -> list[ArrayConfig]:
    """Arrays like `base` with every combination of the knobs; write buses follow the clusters, as
    far as there are lane groups.

    Raises
    ------
    ConfigError : a knob is out of range
    """
    found = []
    for count, width, bits, depth in product(clusters, lanes, act_bits, act_depth):
        buses = 1
        while buses * 3 < count + 1 and buses < 4 and buses * 16 <= width:
            buses *= 2
        found.append(
            dataclasses.replace(
                base,
                name=f"{base.name}-{count}x{width}-a{bits}-d{depth}",
                clusters=count,
                write_buses=buses,
                lanes=width,
                act_bits=bits,
                act_depth=depth,
            )
        )
    if not found:
        raise ConfigError("nothing to explore: every knob needs at least one value")
    return found


def measure_cycles(network: Network, config: ArrayConfig) -> tuple[int | None, str]:
    """Cycles of an image, or None and why the network does not run."""
    problems = check_network(network, config)
    if problems:
        return None, problems[0].text
    return compile_network(network, config).manifest["predicted_cycles"], ""


def measure_resources(board: str, config: ArrayConfig) -> Resources:
    """Resources of a board's whole design with an array, by synthesis."""
    from plum_hw.boards.board import XC7
    from plum_hw.boards.project import design_verilog, make_project

    item = find_board(board)
    files = make_project(item, config, "plum", debug=item.family is not XC7)
    return synthesise_whole(item, design_verilog(files, "plum"), "plum")


def of_kind(config: ArrayConfig, clusters: int) -> ArrayConfig:
    """The array with so many clusters of the same kind, and one write bus: what is synthesised."""
    return dataclasses.replace(config, name=f"kind-{clusters}", clusters=clusters, write_buses=1)


def extrapolate(one: Resources, two: Resources, clusters: int) -> Resources:
    """Resources with `clusters` clusters of those with one and with two."""
    more = two + one.times(-1)
    return one + more.times(clusters - 1)


def judge(points: Iterable[Point], capacity: dict[str, int]) -> list[Point]:
    """The points with their share of the part, and the best of them marked (Pareto: no other that
    fits has fewer cycles and a smaller share, or one of both equal).
    """
    judged = []
    for point in points:
        if point.resources is None:
            judged.append(point)
            continue
        used = point.resources.as_dict()
        share = max(used[kind] / capacity[kind] for kind in capacity)
        judged.append(dataclasses.replace(point, share=share, fits=share <= 1))
    rated = [
        (point.cycles, point.share)
        for point in judged
        if point.fits and point.cycles is not None and point.share is not None
    ]
    return [
        dataclasses.replace(
            point,
            best=point.fits
            and point.cycles is not None
            and point.share is not None
            and not any(
                cycles <= point.cycles
                and share <= point.share
                and (cycles, share) != (point.cycles, point.share)
                for cycles, share in rated
            ),
        )
        for point in judged
    ]
