"""Figures that must be reached, and what is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.results import ARRAY, DENSITY, OURS, Entry, Results, energy_ratio


@dataclass(frozen=True)
class Bar:
    """A figure that must be reached. *Members*: ``least``: `got` must not be below it, else not
    above; ``unit`` follows both.
    """

    work: str
    bar: float
    got: float | None
    least: bool
    unit: str = ""

    @property
    def met(self) -> bool:
        if self.got is None:
            return False
        return self.got >= self.bar if self.least else self.got <= self.bar

    def row(self) -> tuple[str, ...]:
        def text(value: float) -> str:
            return f"{value:,}{self.unit}" if isinstance(value, int) else f"{value:.2f}{self.unit}"

        got = "refused" if self.got is None else text(self.got)
        sign = ">=" if self.least else "<="
        return self.work, f"{sign} {text(self.bar)}", got, "met" if self.met else "**not met**"


def bars(
    results: Results, energy: dict[str, Any] | None, resources: dict[str, Entry] | None = None
) -> list[Bar]:
    """What the array has to reach, and what it does."""
    found = []
    for array, clusters, group, bar in (
        ("arty-a7-35t", 5, 1, 64_000),
        ("arty-a7-35t", 5, "auto", 54_000),
        ("arty-a7-100t", 12, 1, 28_000),
    ):
        cycles = results.cycles("resnet20", array=array, group=group)
        words = "T = 1" if group == 1 else "T chosen"
        work = f"ResNet-20 on {clusters} clusters ({array}), {words}"
        found.append(Bar(work, bar, cycles, False, " cycles"))
    eight = results.find("resnet8")
    milliseconds = None if eight is None else eight["milliseconds_at_100_mhz"]
    found.append(
        Bar("ResNet-8 on 5 clusters at 100 MHz, T chosen", 0.24, milliseconds, False, " ms")
    )
    found.append(
        Bar("layer L on one cluster, T = 1", 3700, _layer_l_cycles(results), False, " cycles")
    )
    found += _resource_bars(resources or {})
    for group, scheme, least in (
        (1, "binary", 2.4),
        (1, "binary-offset", 1.3),
        (1, "ternary", 1.0),
        ("auto", "binary", 2.0),
        ("auto", "ternary", 1.0),
    ):
        words = "T = 1" if group == 1 else "T chosen for each"
        ratio = results.ratio("resnet20", scheme, DENSITY, group)
        found.append(Bar(f"ResNet-20: cycles of {scheme} / ours, {words}", least, ratio, True))
    found.append(Bar("layer L: mask bits of ternary / ours, T = 1", 2.0, _mask_bits(results), True))
    if energy is not None:
        for group in (1, "auto"):
            words = "T = 1" if group == 1 else "T chosen for each"
            ratio = energy_ratio(energy, "binary", group)
            found.append(Bar(f"layer L: switching of binary / ours, {words}", 2.0, ratio, True))
    return found


def _mask_bits(results: Results) -> float | None:
    """Of a layer alone: networks have 8-bit layers beside."""
    ours, ternary = (results.find("layer-l", scheme, group=1) for scheme in (OURS, "ternary"))
    if ours is None or ternary is None:
        return None
    return float(ternary["weight_bits"] / ours["weight_bits"])


def _resource_bars(resources: dict[str, Entry]) -> list[Bar]:
    """By open synthesis: one cluster, and the whole design of five with its link."""
    found = []
    if "cluster" in resources:
        used = resources["cluster"]["blocks"]["cluster"]
        bars_of = {"lut": (2500, " LUT"), "dsp": (8, " DSP48"), "ram": (9, " RAMB36")}
        found += [
            Bar("that cluster with its drain", bar, _exact(used[kind]), False, unit)
            for kind, (bar, unit) in bars_of.items()
        ]
    if ARRAY in resources:
        whole = resources[ARRAY]
        share = 100 * whole["resources"]["lut"] / whole["capacity"]["lut"]
        work = f"{ARRAY}, whole design with link"
        found.append(Bar(f"{work}: of the part's LUTs", 70, share, False, " %"))
        found.append(Bar(work, 50, _exact(whole["resources"]["ram"]), False, " RAMB36"))
    return found


def _exact(value: float) -> float:
    """Half block RAMs are counted; an integer where there are none."""
    return value if value % 1 else int(value)


def _layer_l_cycles(results: Results) -> int | None:
    return results.cycles("layer-l", array="cluster", group=1)
