"""docs/performance.md from the results. Everything in it is a function of the results alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import BOARDS, LAYER_L
from benchmarks.placed import HEADINGS as PLACED
from benchmarks.placed import placed_rows
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
#: The array on which schemes are compared, and the paper's density.
ARRAY, DENSITY = "arty-a7-35t", 0.35
_BASELINES = ("binary", "binary-offset", "ternary")
_OURS = "signed-binary"

Entry = dict[str, Any]
Group = int | str


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


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns of figures are those whose heading begins with a blank."""
    lines = ["| " + " | ".join(text.strip() for text in headings) + " |"]
    lines.append(
        "|" + "|".join("---:" if text.startswith(" ") else "---" for text in headings) + "|"
    )
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def between_marks(text: str, begin: str, end: str, inside: str) -> str:
    """The text of a page with `inside` in place of what stood between the two marks."""
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"the page has no lines {begin!r} and {end!r}")
    return f"{before}{begin}\n{inside}\n{end}{after}"


class Results:
    """The results, looked up. *Members*: ``runs``, ``refused``, ``networks`` in their order."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.runs: list[Entry] = results["runs"]
        self.refused: list[Entry] = results["refused"]
        self.clock: str = results["clock"]
        entries = [*self.runs, *self.refused]
        self.networks = list(dict.fromkeys(entry["network"] for entry in entries))
        self.compared = list(
            dict.fromkeys(entry["network"] for entry in entries if entry["scheme"] != _OURS)
        )
        self.arrays = list(dict.fromkeys(entry["array"] for entry in entries))
        self._runs = {
            (e["network"], e["array"], e["scheme"], e["density"]["asked"], e["group"]): e
            for e in self.runs
        }

    def find(
        self,
        network: str,
        scheme: str = _OURS,
        density: float = DENSITY,
        *,
        array: str = ARRAY,
        group: Group = "auto",
    ) -> Entry | None:
        """The result of a case, None where it was refused; ``density`` of the sparse schemes."""
        key = (network, array, scheme)
        found = self._runs.get((*key, density, group))
        return found or self._runs.get((*key, None, group))

    def cycles(self, network: str, *, array: str = ARRAY, group: Group = "auto") -> int | None:
        """Cycles of signed binary at the paper's density."""
        entry = self.find(network, array=array, group=group)
        return None if entry is None else int(entry["predicted_cycles"])

    def ratio(self, network: str, scheme: str, density: float, group: Group) -> float | None:
        """Cycles of a scheme over those of signed binary; None where either was refused."""
        other = self.find(network, scheme, density, group=group)
        ours = self.find(network, _OURS, density, group=group)
        if other is None or ours is None:
            return None
        return float(other["predicted_cycles"] / ours["predicted_cycles"])


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
    ours, ternary = (results.find("layer-l", scheme, group=1) for scheme in (_OURS, "ternary"))
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
    return (entry["scheme"], entry["density"]["asked"], entry["group"]) == (_OURS, DENSITY, "auto")


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
        for scheme in (_OURS, *_BASELINES, "int8"):
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


def _energy_run(energy: dict[str, Any], scheme: str, group: Group) -> Entry:
    return next(run for run in energy["runs"] if (run["scheme"], run["group"]) == (scheme, group))


def energy_ratio(energy: dict[str, Any], scheme: str, group: Group, *, clock: bool = True) -> float:
    """Energy of a scheme over that of signed binary; ``clock``: with the clock's."""
    runs = [_energy_run(energy, each, group) for each in (scheme, _OURS)]
    other, ours = (run["total"] - (0 if clock else run["energy"]["clock"]) for run in runs)
    return float(other / ours)


def _energy(energy: dict[str, Any]) -> str:
    unit = _energy_run(energy, _OURS, 1)["total"]
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
