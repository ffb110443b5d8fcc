"""docs/performance.md from the results. Everything in it is a function of the results alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.bars import bars
from benchmarks.markdown import table
from benchmarks.peers import BOARDS, LAYER_L
from benchmarks.placed import HEADINGS as PLACED
from benchmarks.placed import placed_rows
from benchmarks.results import ARRAY, DENSITY, OURS, Entry, Results, energy_ratio, energy_run
from benchmarks.text import (
    BARS_NOTE,
    BINDS,
    CYCLES_NOTE,
    ENERGY_NOTE,
    HEAD,
    LAYER_L_NOTE,
    RATIOS_NOTE,
)

#: What the paper measured against binary, and against ternary, on a CPU.
PAPER_BINARY, PAPER_TERNARY = 1.26, 1.75
_BASELINES = ("binary", "binary-offset", "ternary")


def performance(
    data: dict[str, Any],
    energy: dict[str, Any] | None = None,
    boards: Sequence[Entry] = (),
    resources: dict[str, Entry] | None = None,
) -> str:
    """The whole document. ``boards``: builds that were placed and routed; ``resources``: counts of
    synthesis by array.
    """
    results = Results(data)
    placed = placed_rows(
        {(e["network"], e["array"]): e["predicted_cycles"] for e in results.runs if _ours(e)},
        list(boards),
    )
    parts = [
        HEAD.format(clock=results.clock, paper=PAPER_BINARY, ternary=PAPER_TERNARY),
        "## Networks and arrays",
        _networks(results),
        CYCLES_NOTE,
        *(["## At clocks of place and route", table(PLACED, placed)] if placed else []),
        "## Bars",
        table(
            ("work", " bar", " ours", ""), [bar.row() for bar in bars(results, energy, resources)]
        ),
        BARS_NOTE,
        f"## Schemes on {ARRAY}",
        _schemes(results),
        "## Signed binary against the others",
        _ratios(results),
        RATIOS_NOTE.format(paper=PAPER_BINARY, ternary=PAPER_TERNARY),
        "## ResNet-20: what binds",
        _resnet20(results),
    ]
    if energy is not None:
        parts += ["## Switching energy", _energy(energy), ENERGY_NOTE]
    parts += [
        "## Layer L beside other systems",
        _layer_l(results, resources or {}),
        LAYER_L_NOTE,
        "## Whole networks beside other boards",
        _boards(results),
        "## What an array cannot hold",
        _refused(results),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _ours(entry: Entry) -> bool:
    """Whether a result is of signed binary at the paper's density, T chosen."""
    return (entry["scheme"], entry["density"]["asked"], entry["group"]) == (OURS, DENSITY, "auto")


def _simulated(entry: Entry) -> str:
    if "simulated_cycles" not in entry:
        return "not run"
    # Of every layer, where that was kept.
    cycles = entry["simulated_cycles"] == entry["predicted_cycles"]
    equal = cycles and entry.get("cycles_as_predicted", True) and entry["equal_to_golden"]
    images = entry.get("images", 3)
    return f"equal ({images})" if equal else "**DIFFERENT**"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _networks(results: Results) -> str:
    rows = []
    for network in results.networks:
        for array in results.arrays:
            plain = results.find(network, array=array, group=1)
            chosen = results.find(network, array=array)
            if plain is None or chosen is None:
                continue
            rows.append(
                (
                    network,
                    array,
                    str(chosen["clusters"]),
                    f"{plain['predicted_cycles']:,}",
                    f"{chosen['predicted_cycles']:,}",
                    _percent(chosen["lane_use"]),
                    f"{chosen['milliseconds_at_100_mhz']:.3f}",
                    str(chosen["parts"]),
                    _simulated(chosen),
                )
            )
    headings = (
        "network",
        "array",
        " clusters",
        " cycles, T = 1",
        " cycles, T chosen",
        " lane use",
        " ms at 100 MHz (assumed)",
        " parts",
        "simulated",
    )
    return table(headings, rows)


def _schemes(results: Results) -> str:
    rows = []
    for network in results.compared:
        for scheme in (OURS, *_BASELINES, "int8"):
            plain, chosen = (results.find(network, scheme, group=group) for group in (1, "auto"))
            if plain is None or chosen is None:
                continue
            rows.append(
                (
                    network,
                    scheme,
                    f"{chosen['density']['real']:.3f}",
                    f"{plain['predicted_cycles']:,}",
                    f"{chosen['predicted_cycles']:,}",
                    f"{plain['weight_bits'] / 1000:,.1f}",
                    f"{chosen['weight_bits'] / 1000:,.1f}",
                    str(chosen["parts"]),
                    _simulated(chosen),
                )
            )
    headings = (
        "network",
        "scheme",
        " density",
        " cycles, T = 1",
        " cycles, T chosen",
        " mask kbit, T = 1",
        " mask kbit, T chosen",
        " parts",
        "simulated",
    )
    return table(headings, rows)


def _ratios(results: Results) -> str:
    densities = sorted({e["density"]["asked"] for e in results.runs if e["density"]["asked"]})
    rows = [
        (
            network,
            f"{density:.2f}",
            *(
                _times(results.ratio(network, scheme, density, group))
                for group in (1, "auto")
                for scheme in _BASELINES
            ),
        )
        for network in results.compared
        for density in densities
    ]
    baselines = ("binary, two groups", "binary, offset", "ternary")
    headings = (
        "network",
        " density",
        *(f" {name}, T = 1" for name in baselines),
        *(f" {name}, T chosen" for name in baselines),
    )
    return table(headings, rows)


def _times(ratio: float | None) -> str:
    return "refused" if ratio is None else f"{ratio:.2f}"


def _resnet20(results: Results) -> str:
    entry = results.find("resnet20")
    if entry is None:
        return "Refused."
    rows = [
        (
            layer["name"],
            f"{layer['cycles']:,}",
            _percent(layer["cycles"] / entry["predicted_cycles"]),
            str(layer["group"]),
            f"{layer['split'][0]}x{layer['split'][1]}",
            _percent(layer["lane_use"]),
            f"{layer['stalls']['drain']:,}",
            f"{layer['stalls']['emitter']:,}",
            layer["bound_by"],
        )
        for layer in entry["layers"]
    ]
    text = table(
        (
            "layer",
            " cycles",
            " share",
            " T",
            " RxF",
            " lane use",
            " drain stalls",
            " emitter stalls",
            "bound by",
        ),
        rows,
    )
    share = _percent(entry["fixed_cycles"] / entry["predicted_cycles"])
    return f"{text}\n\n{BINDS.format(array=ARRAY, share=share).strip()}"


def _energy(energy: dict[str, Any]) -> str:
    unit = energy_run(energy, OURS, 1)["total"]
    rows = [
        (
            run["scheme"],
            f"{run['density']:.2f}",
            "chosen" if run["group"] == "auto" else str(run["group"]),
            f"{run['cycles']:,}",
            *(f"{run['energy'][part] / unit:.3f}" for part in energy["parts"]),
            f"{run['total'] / unit:.2f}",
            f"{energy_ratio(energy, run['scheme'], run['group']):.2f}",
            f"{energy_ratio(energy, run['scheme'], run['group'], clock=False):.2f}",
            f"{run['beats']:,}",
        )
        for run in energy["runs"]
    ]
    headings = ("scheme", " density", " T", " cycles", *(f" {part}" for part in energy["parts"]))
    more = (" all", " over signed binary", " the same without clock", " vectors read")
    return table((*headings, *more), rows)


def _layer_l(results: Results, resources: dict[str, Entry]) -> str:
    rows = []
    logic = "not counted"
    if "cluster" in resources:
        used = resources["cluster"]["blocks"]["cluster"]
        logic = f"{used['lut']:,} LUT, {used['dsp']} DSP, {used['ram']:g} RAMB36"
    for group, words in ((1, "T = 1"), ("auto", "T chosen")):
        entry = results.find("layer-l", array="cluster", group=group)
        if entry is not None:
            name = f"**ours, one cluster, signed binary, density {entry['density']['real']:.2f}**"
            rows.append((name, f"{entry['predicted_cycles']:,}", logic, words))
    return table(("system", " cycles a frame", "logic", "note"), [*rows, *LAYER_L])


def _boards(results: Results) -> str:
    rows = []
    for network in ("resnet8", "resnet20", "dscnn"):
        for array in ("arty-a7-35t", "arty-a7-100t"):
            entry = results.find(network, array=array)
            if entry is not None:
                rows.append(
                    (
                        f"**ours, {array}, {entry['clusters']} clusters**",
                        f"{network}, random weights",
                        f"{entry['milliseconds_at_100_mhz']:.3f} ms at 100 MHz",
                        "cycle model; clock assumed",
                        "signed binary at density 0.35, 8-bit activations; without the link's time",
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
            "; ".join(entry["refused"]).split("; use ")[0],
        )
        for entry in results.refused
        if entry["density"]["asked"] in (DENSITY, None) and entry["group"] == "auto"
    ]
    headings = ("network", "scheme", "array", "why")
    return table(headings, rows) if rows else "Nothing of the above was refused."
