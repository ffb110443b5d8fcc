"""docs/performance.md from the results. Everything in it is a function of the results alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.peers import BOARDS, LAYER_L
from benchmarks.text import BINDS, CYCLES_NOTE, HEAD, LAYER_L_NOTE, RATIOS_NOTE

#: What the paper measured against binary, and against ternary, on a CPU.
PAPER_BINARY, PAPER_TERNARY = 1.26, 1.75
#: Least ratios for ResNet-20 at density 0.35, T = 1.
BARS = {"binary": 2.4, "binary-offset": 1.3, "ternary": 1.0}
#: Most cycles for layer L on one cluster.
LAYER_L_BAR = 3700
_BASELINES = ("binary", "binary-offset", "ternary")
_OURS = "signed-binary"

Entry = dict[str, Any]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns of figures are those whose heading begins with a blank."""
    lines = ["| " + " | ".join(text.strip() for text in headings) + " |"]
    lines.append(
        "|" + "|".join("---:" if text.startswith(" ") else "---" for text in headings) + "|"
    )
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


class Results:
    """The results, looked up. *Members*: ``runs``, ``refused``, ``networks`` in their order."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.runs: list[Entry] = results["runs"]
        self.refused: list[Entry] = results["refused"]
        self.clock: str = results["clock"]
        self.networks = list(dict.fromkeys(entry["network"] for entry in self.runs))

    def find(self, network: str, scheme: str, density: float | None = None) -> Entry | None:
        """The result of a scheme; ``density`` of the sparse ones."""
        for entry in self.runs:
            asked = entry["density"]["asked"]
            if (entry["network"], entry["scheme"]) == (network, scheme) and asked in (
                None,
                density,
            ):
                return entry
        return None

    def ratio(self, network: str, scheme: str, density: float) -> float | None:
        """Cycles of a scheme over those of signed binary; None where either was refused."""
        other, ours = self.find(network, scheme, density), self.find(network, _OURS, density)
        if other is None or ours is None:
            return None
        return float(other["predicted_cycles"] / ours["predicted_cycles"])


def performance(data: dict[str, Any]) -> str:
    """The whole document."""
    results = Results(data)
    parts = [
        HEAD.format(clock=results.clock, paper=PAPER_BINARY, ternary=PAPER_TERNARY),
        "## Cycles at density 0.35",
        _cycles(results),
        CYCLES_NOTE,
        "## Signed binary against the others",
        _ratios(results),
        RATIOS_NOTE.format(paper=PAPER_BINARY, ternary=PAPER_TERNARY),
        "## ResNet-20: bars and what binds",
        _bars(results),
        _resnet20(results),
        "## Layer L beside other systems",
        _layer_l(results),
        LAYER_L_NOTE,
        "## Whole networks beside other boards",
        _boards(results),
        "## What no array holds yet",
        _refused(results),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _cycles(results: Results) -> str:
    rows = []
    for network in results.networks:
        for entry in results.runs:
            asked = entry["density"]["asked"]
            if entry["network"] != network or asked not in (None, 0.35):
                continue
            simulated = "not run"
            if "simulated_cycles" in entry:
                equal = entry["simulated_cycles"] == entry["predicted_cycles"]
                equal = equal and entry["equal_to_golden"]
                simulated = "equal" if equal else "**DIFFERENT**"
            rows.append(
                (
                    network,
                    entry["scheme"],
                    f"{entry['density']['real']:.3f}",
                    f"{entry['predicted_cycles']:,}",
                    simulated,
                    f"{100 * entry['lane_use']:.0f} %",
                    f"{entry['milliseconds_at_100_mhz']:.3f}",
                    f"{entry['weight_bits'] / 1000:,.1f}",
                    entry["array"],
                )
            )
    headings = (
        "network",
        "scheme",
        " density",
        " cycles",
        "simulated",
        " lane use",
        " ms at 100 MHz (assumed)",
        " mask kbit",
        "array",
    )
    return table(headings, rows)


def _ratios(results: Results) -> str:
    densities = sorted({e["density"]["asked"] for e in results.runs if e["density"]["asked"]})
    rows = [
        (
            network,
            f"{density:.2f}",
            *(_times(results.ratio(network, scheme, density)) for scheme in _BASELINES),
        )
        for network in results.networks
        for density in densities
    ]
    headings = ("network", " density", " binary, two groups", " binary, offset", " ternary")
    return table(headings, rows)


def _times(ratio: float | None) -> str:
    return "refused" if ratio is None else f"{ratio:.2f}"


def _bars(results: Results) -> str:
    rows = []
    for scheme, bar in BARS.items():
        ratio = results.ratio("resnet20", scheme, 0.35)
        met = "refused" if ratio is None else "met" if ratio >= bar else "**not met**"
        rows.append((f"signed binary against {scheme}", f">= {bar:.1f}", _times(ratio), met))
    ours = results.find("layer-l", _OURS, 0.35)
    assert ours is not None
    cycles = ours["predicted_cycles"]
    rows.append(
        (
            "layer L, cycles on one cluster",
            f"<= {LAYER_L_BAR:,}",
            f"{cycles:,}",
            "met" if cycles <= LAYER_L_BAR else "**not met**",
        )
    )
    return table(("work, T = 1", " bar", " ours", ""), rows)


def _resnet20(results: Results) -> str:
    rows = []
    for scheme in (_OURS, *_BASELINES):
        entry = results.find("resnet20", scheme, 0.35)
        if entry is None:
            continue
        total, fixed = entry["predicted_cycles"], entry["fixed_cycles"]
        rows.append(
            (
                scheme,
                f"{total:,}",
                f"{fixed:,}",
                f"{total - fixed:,}",
                *(f"{entry['bound'].get(part, 0):,}" for part in ("lanes", "drain", "emitter")),
                f"{entry['stalls']['drain']:,}",
                f"{entry['stalls']['emitter']:,}",
            )
        )
    ours, offset = (results.find("resnet20", each, 0.35) for each in (_OURS, "binary-offset"))
    text = table(
        (
            "scheme",
            " cycles",
            " 8-bit layers",
            " middle layers",
            " bound by lanes",
            " by drain",
            " by emitter",
            " drain stalls",
            " emitter stalls",
        ),
        rows,
    )
    if ours is None or offset is None:
        return text
    middle = [entry["predicted_cycles"] - entry["fixed_cycles"] for entry in (ours, offset)]
    slow = [layer for layer in ours["layers"] if layer["bound_by"] != "lanes"]
    names = "; ".join(
        f"`{layer['name']}` by the {layer['bound_by']} ({layer['cycles']:,} cycles, lanes used "
        f"{100 * layer['lane_use']:.0f} %)"
        for layer in slow
    )
    share = 100 * ours["fixed_cycles"] / ours["predicted_cycles"]
    ratio = offset["predicted_cycles"] / ours["predicted_cycles"]
    return (
        f"{text}\n\nThe 8-bit layers take the same cycles in every scheme, {share:.0f} % of those\n"
        f"of signed binary; without them its lead over binary-offset would be\n"
        f"{middle[1] / middle[0]:.2f} instead of {ratio:.2f}. "
        f"Bound by something else than the lanes:\n"
        f"{names}.\n\n{BINDS.strip()}"
    )


def _layer_l(results: Results) -> str:
    rows = []
    for scheme in (_OURS, *_BASELINES, "int8"):
        entry = results.find("layer-l", scheme, 0.35)
        if entry is not None:
            name = f"**ours, one cluster, {scheme}, density {entry['density']['real']:.2f}**"
            rows.append((name, f"{entry['predicted_cycles']:,}", "not measured here", "T = 1"))
    return table(("system", " cycles a frame", "logic", "note"), [*rows, *LAYER_L])


def _boards(results: Results) -> str:
    rows = []
    for network in ("resnet8", "resnet20", "dscnn"):
        entry = results.find(network, _OURS, 0.35)
        if entry is not None:
            rows.append(
                (
                    f"**ours, {entry['array']}, one cluster, T = 1**",
                    f"{network}, random weights",
                    f"{entry['milliseconds_at_100_mhz']:.2f} ms at 100 MHz",
                    "cycle model; clock assumed",
                    "signed binary at density 0.35; without the link's time",
                )
            )
    return table(
        ("system", "network, accuracy", "result", "source", "what differs"), [*rows, *BOARDS]
    )


def _refused(results: Results) -> str:
    rows = [
        (
            entry["network"],
            entry["scheme"],
            entry["array"],
            "; ".join(text.split("; use an array")[0] for text in entry["refused"]),
        )
        for entry in results.refused
        if entry["density"]["asked"] in (None, 0.35)
    ]
    return table(("network", "scheme", "array", "why"), rows)
