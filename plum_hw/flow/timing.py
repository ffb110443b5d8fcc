"""What nextpnr's JSON report says: frequency of each clock, cells used, the critical path in words.

Ref: nextpnr, common/kernel/report.cc (`--report`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ClockTiming:
    """One clock: what it could run at, and what was asked for, in MHz."""

    fmax_mhz: float
    asked_mhz: float

    @property
    def met(self) -> bool:
        return self.fmax_mhz >= self.asked_mhz


@dataclass(frozen=True, kw_only=True)
class CriticalPath:
    """The slowest path of a clock; times in ns.

    source, sink : the registers at its ends, by the name of their signal
    logic_ns, routing_ns : of the path, clock-to-output and setup counted as logic
    levels : cells on the way
    slowest_nets : those whose wires take longest, with the time
    """

    source: str
    sink: str
    logic_ns: float
    routing_ns: float
    levels: int
    slowest_nets: tuple[tuple[str, float], ...]

    @property
    def text(self) -> str:
        total = self.logic_ns + self.routing_ns
        share = round(100 * self.routing_ns / total) if total else 0
        wires = ", ".join(f"{net} {delay:.1f} ns" for net, delay in self.slowest_nets)
        return (
            f"from {self.source} to {self.sink}: {total:.1f} ns, of them {self.logic_ns:.1f} in "
            f"{self.levels} cells and {self.routing_ns:.1f} on wires ({share} %); "
            f"slowest wires: {wires or 'none'}"
        )


@dataclass(frozen=True, kw_only=True)
class PlacedReport:
    """A placed and routed design.

    clocks : by the name of its net
    critical : of the clock that the array has
    used, available : cells of the part by nextpnr's names
    """

    clocks: dict[str, ClockTiming]
    critical: CriticalPath | None
    used: dict[str, int]
    available: dict[str, int]

    @property
    def slowest(self) -> ClockTiming | None:
        """The clock that is nearest to its limit, or furthest beyond it."""
        order = sorted(self.clocks.values(), key=lambda item: item.fmax_mhz / item.asked_mhz)
        return order[0] if order else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON, so pairs are lists."""
        values = asdict(self)
        if self.critical is not None:
            values["critical"]["slowest_nets"] = [list(net) for net in self.critical.slowest_nets]
        return values


def read_report(report: Mapping[str, Any]) -> PlacedReport:
    """Parse nextpnr's report."""
    clocks = {
        name: ClockTiming(fmax_mhz=item["achieved"], asked_mhz=item["constraint"])
        for name, item in report["fmax"].items()
    }
    paths = [
        item
        for item in report["critical_paths"]
        if item["from"] == item["to"] and not item["from"].startswith("<async>")
    ]
    longest = max(paths, key=lambda item: sum(step["delay"] for step in item["path"]), default=None)
    return PlacedReport(
        clocks=clocks,
        critical=None if longest is None else _critical(longest["path"]),
        used={name: item["used"] for name, item in report["utilization"].items() if item["used"]},
        available={
            name: item["available"]
            for name, item in report["utilization"].items()
            if item["available"]
        },
    )


def _critical(path: list[dict[str, Any]]) -> CriticalPath:
    routing = [step for step in path if step["type"] == "routing"]
    logic = [step for step in path if step["type"] != "routing"]
    slow = sorted(routing, key=lambda step: -step["delay"])[:3]
    return CriticalPath(
        source=readable(path[0]["from"]["cell"]),
        sink=readable(path[-1]["to"]["cell"]),
        logic_ns=sum(step["delay"] for step in logic),
        routing_ns=sum(step["delay"] for step in routing),
        levels=sum(step["type"] == "logic" for step in logic),
        slowest_nets=tuple(
            (readable(step.get("net", "a wire")), step["delay"]) for step in slow if step["delay"]
        ),
    )


#: What the tools put behind the name of a signal to name a cell that drives it.
_CELL = re.compile(r"_(TRELLIS_FF|SB_DFF\w*|SB_LUT4|DFF\w*|LUT\d|CCU2C|PFUMX|L6MUX21|ALU)_.*$")


def readable(name: str) -> str:
    """A cell's or net's name without what tools add: `accelerator.device.cluster_0.drain.sum`."""
    name = re.sub(r"\$nextpnr_\w+|\$(PACKER|PACKED)\w*", "", _CELL.sub("", name))
    return name.strip(".$") or "an unnamed cell"
