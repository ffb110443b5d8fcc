"""`python -m benchmarks.run`: benchmarks/results.json and docs/performance.md anew.

Cycles are exact and the same on every machine, and no time of day or duration is stored, so both
files change only when the compiler, an array or the zoo does. With ``--simulate ARRAY`` the results
on that array are run on the simulated gateware as well (seconds to minutes each; with T chosen
unless ``--group`` says otherwise); what was simulated before is kept where the prediction is
unchanged. ``--network NET``, ``--array PRESET`` and ``--scheme S`` work on these alone, leaving the
others as they are. The results are written after each case.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.placed import load_boards
from benchmarks.report import performance
from benchmarks.resources import load_resources
from plum_hw import bench
from plum_hw.compiler import compile_network
from plum_hw.config import ArrayConfig
from plum_hw.errors import UnsupportedError
from plum_hw.ir import Network, WeightLayer
from plum_hw.presets import preset
from plum_hw.zoo import NAMES, SCHEMES, Options, build

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
ENERGY = ROOT / "benchmarks" / "energy.json"
#: What place and route made of boards, a file each.
BUILDS = ROOT / "benchmarks" / "boards"
PERFORMANCE = ROOT / "docs" / "performance.md"

#: Arrays that every network is compiled for.
ARRAYS = ("arty-a7-35t", "arty-a7-35t-deep", "arty-a7-100t", "ulx3s-85f", "single")
#: A cluster as small as it can be, and the network that it is made for.
SMALLEST, NETWORKS_SMALLEST = "cluster", ("layer-l",)
#: An array of no board, for networks that need wide rows or deep memories.
WIDE = ArrayConfig(
    name="wide",
    clusters=8,
    write_buses=8,
    lanes=128,
    act_depth=4096,
    code_depth=65536,
    table_depth=4096,
    result_depth=1024,
)
#: Inputs at a time that dense networks are compiled for beside one, and the arrays.
BATCHES = {"autoencoder": 64}
ARRAYS_BATCHES = ("arty-a7-35t", "arty-a7-100t")
NETWORKS_WIDE = ("mobilenet025", "autoencoder", "vgg-small", "resnet18")
#: Networks in pieces on every board: compiling them takes minutes, so for one of them.
NETWORKS_LARGE = ("vgg-small", "resnet18")
#: Where schemes are compared, at all densities; the middle one is the paper's, 2.8 times sparser
#: than binary.
COMPARED = "arty-a7-35t"
NETWORKS_COMPARED = ("layer-l", "resnet8", "resnet20", "fashion", "dscnn")
DENSITIES = (0.25, 0.35, 0.45)
DENSITY = 0.35
#: Filters that share additions: none do, or the compiler chooses.
GROUPS = (1, None)
#: The network whose layers are listed.
LISTED = "resnet20"

_KEYS = (
    "network",
    "scheme",
    "density",
    "array",
    "clusters",
    "group",
    "parts",
    "predicted_cycles",
    "milliseconds_at_100_mhz",
    "macs",
    "weight_bits",
    "lane_use",
)
#: What a layer's entry keeps where layers are listed.
_LAYER_KEYS = ("name", "cycles", "group", "split", "lane_use", "bound_by", "stalls")
_SIMULATED_KEYS = ("simulated_cycles", "cycles_as_predicted", "equal_to_golden", "images")


@dataclass(frozen=True)
class Case:
    """One compilation."""

    network: str
    array: str
    options: Options
    group: int | None
    batch: int = 1

    @property
    def label(self) -> str:
        """The network's name in the results."""
        return self.network if self.batch == 1 else f"{self.network} x{self.batch}"

    @property
    def key(self) -> tuple[Any, ...]:
        """What its entry is found by, as `entry_key`."""
        options = self.options
        asked = options.density if options.scheme in bench.SPARSE else None
        group = "auto" if self.group is None else self.group
        return self.label, self.array, options.scheme, asked, group


def entry_key(entry: dict[str, Any]) -> tuple[Any, ...]:
    """What identifies an entry of the results."""
    return (
        entry["network"],
        entry["array"],
        entry["scheme"],
        entry["density"]["asked"],
        entry["group"],
    )


def cases(name: str) -> list[Case]:
    """Signed binary on every array; on one of them all schemes, the sparse ones at each density;
    and batches.
    """
    found = []
    arrays = (COMPARED,) if name in NETWORKS_LARGE else ARRAYS
    more = [SMALLEST] if name in NETWORKS_SMALLEST else []
    more += [WIDE.name] if name in NETWORKS_WIDE else []
    for array in (*arrays, *more):
        compared = array == COMPARED and name in NETWORKS_COMPARED
        for scheme in SCHEMES if compared else (bench.OURS,):
            several = compared and scheme in bench.SPARSE
            for density in DENSITIES if several else (DENSITY,):
                options = Options(scheme=scheme, density=density)
                found += [Case(name, array, options, group) for group in GROUPS]
    if name in BATCHES:
        options, batch = Options(density=DENSITY), BATCHES[name]
        found += [
            Case(name, array, options, group, batch) for array in ARRAYS_BATCHES for group in GROUPS
        ]
    return found


def result(case: Case, *, images: int = 0) -> dict[str, Any]:
    """One entry of the results, simulated with so many images.

    ``fixed_cycles`` are those of the layers that have 8-bit weights in every scheme; ``bound`` has
    the cycles of the layers by what binds them.
    """
    network = build(case.network, case.options)
    config = WIDE if case.array == WIDE.name else preset(case.array)
    try:
        bundle = compile_network(network, config, group=case.group, batch=case.batch)
    except UnsupportedError as error:
        report = bench.refusal_report(network, [str(error)], case.options, config)
        return {**report, "network": case.label, "group": case.key[-1]}
    report = bench.bundle_report(network, bundle, case.options, case.group)
    entry = {key: report[key] for key in _KEYS} | {"network": case.label}
    fixed = _fixed_layers(network, case.options)
    names = [layer.name for layer in network.layers]
    bound: dict[str, int] = {}
    for layer in report["layers"]:
        bound[layer["bound_by"]] = bound.get(layer["bound_by"], 0) + layer["cycles"]
    entry["bound"] = dict(sorted(bound.items()))
    entry["fixed_cycles"] = sum(
        layer["cycles"] for layer in report["layers"] if _base_name(layer["name"], names) in fixed
    )
    entry["stalls"] = {
        kind: sum(layer["stalls"][kind] for layer in report["layers"])
        for kind in ("drain", "emitter")
    }
    if (case.network, case.array, case.options.density) == (LISTED, COMPARED, DENSITY):
        entry["layers"] = [{key: layer[key] for key in _LAYER_KEYS} for layer in report["layers"]]
    if images:
        measured = bench.simulate(network, bundle, seed=case.options.seed, images=images)
        measured["images"] //= case.batch
        entry.update({key: measured[key] for key in _SIMULATED_KEYS})
    return entry


def _base_name(step: str, names: list[str]) -> str:
    """The network's layer that a step of the program works for: a region of its rows, a copy, a
    piece.
    """
    found = [name for name in names if step == name or step.startswith(f"{name}.")]
    return max(found, key=len, default=step)


def _fixed_layers(network: Network, options: Options) -> set[str]:
    """Names of the layers that have 8-bit weights in every scheme; none where all layers do."""
    if options.scheme == "int8":
        return set()
    return {
        layer.name
        for layer in network.layers
        if isinstance(layer, WeightLayer) and layer.scheme == "int"
    }


@dataclass(frozen=True)
class Wanted:
    """What is to be made anew. *Members*: ``networks``, ``arrays``, ``schemes``; ``simulated``, the
    arrays and groups that are simulated with so many ``images``.
    """

    networks: list[str]
    arrays: list[str]
    schemes: list[str]
    simulated: tuple[list[str], list[int | None]] = ([], [])
    images: int = 0

    def has(self, case: Case) -> bool:
        """Whether a case is to be made anew."""
        return (
            case.network in self.networks
            and case.array in self.arrays
            and case.options.scheme in self.schemes
        )

    def images_of(self, case: Case) -> int:
        """Images that it is simulated with."""
        arrays, groups = self.simulated
        shown = case.options.density == DENSITY
        return self.images if shown and case.array in arrays and case.group in groups else 0


def collect(wanted: Wanted, earlier: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """All results, after each case that is made anew; the others from before."""
    known = {entry_key(entry): entry for entry in _entries(earlier or {})}
    every = [case for name in NAMES for case in cases(name)]
    for case in filter(wanted.has, every):
        print(*case.key, flush=True)
        entry = result(case, images=wanted.images_of(case))
        _keep_simulated(entry, known.get(case.key, {}))
        known[case.key] = entry
        there = [known[each.key] for each in every if each.key in known]
        yield {
            "clock": bench.CLOCK_NOTE,
            "runs": [entry for entry in there if "refused" not in entry],
            "refused": [entry for entry in there if "refused" in entry],
        }


def _entries(results: dict[str, Any]) -> list[dict[str, Any]]:
    return [*results.get("runs", ()), *results.get("refused", ())]


def _keep_simulated(entry: dict[str, Any], before: dict[str, Any]) -> None:
    """Take over what was simulated before, where the prediction is still the same."""
    if before.get("predicted_cycles") == entry.get("predicted_cycles"):
        for key in _SIMULATED_KEYS:
            if key in before:
                entry.setdefault(key, before[key])


def dumps(results: dict[str, Any]) -> str:
    """The text of a results file."""
    return json.dumps(results, indent=1, sort_keys=True) + "\n"


def write_performance() -> None:
    """docs/performance.md from the files of results."""
    energy = json.loads(ENERGY.read_text()) if ENERGY.exists() else None
    results = json.loads(RESULTS.read_text())
    boards, resources = load_boards(BUILDS), load_resources()
    PERFORMANCE.write_text(performance(results, energy, boards, resources))


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    presets = (*ARRAYS, SMALLEST)
    parser.add_argument(
        "--simulate", action="append", default=[], choices=presets, help="run the gateware as well"
    )
    parser.add_argument(
        "--network", action="append", default=[], choices=NAMES, help="only this, others as before"
    )
    parser.add_argument(
        "--array", action="append", default=[], choices=presets, help="only this, others as before"
    )
    parser.add_argument(
        "--scheme", action="append", default=[], choices=SCHEMES, help="only this, others as before"
    )
    parser.add_argument(
        "--group", action="append", choices=list(bench.GROUPS), help="simulate these T (auto)"
    )
    parser.add_argument("--images", type=int, default=3, metavar="N", help="that are simulated")
    parser.add_argument("--text", action="store_true", help="only docs/performance.md")
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error(f"--images {arguments.images}: it must be at least 1")
    if not arguments.text:
        earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else None
        wanted = Wanted(
            networks=arguments.network or list(NAMES),
            arrays=arguments.array or [*presets, WIDE.name],
            schemes=arguments.scheme or list(SCHEMES),
            simulated=(
                arguments.simulate,
                [bench.GROUPS[each] for each in arguments.group or ["auto"]],
            ),
            images=arguments.images,
        )
        for results in collect(wanted, earlier):
            RESULTS.write_text(dumps(results))
        print(f"wrote {RESULTS.relative_to(ROOT)}")
    write_performance()
    print(f"wrote {PERFORMANCE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
