"""`python -m benchmarks.run [--simulate]`: benchmarks/results.json and docs/performance.md anew.

Cycles are exact and the same on every machine, and no time of day or duration is stored, so both
files change only when the compiler, the array or the zoo does. With ``--simulate`` every result is
run on the simulated gateware as well (some minutes); without it, what was simulated before is kept
where the prediction is unchanged.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.report import performance
from plum_hw import bench
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import preset
from plum_hw.ir import Network, WeightLayer
from plum_hw.zoo import SCHEMES, Options, build

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
PERFORMANCE = ROOT / "docs" / "performance.md"

#: Densities of the sparse schemes; the middle one is the paper's, 2.8 times sparser than binary.
DENSITIES = (0.25, 0.35, 0.45)
DENSITY = 0.35
#: Each network with the smallest array that holds it.
ARRAYS = {
    "layer-l": "arty-a7-35t",
    "resnet8": "arty-a7-35t",
    "resnet20": "arty-a7-35t",
    "fashion": "arty-a7-35t",
    "dscnn": "arty-a7-100t",
}
#: Networks that no array holds yet, with the largest.
REFUSED = {name: "arty-a7-100t" for name in ("mobilenet025", "autoencoder", "vgg-small")}

_KEYS = (
    "network",
    "scheme",
    "density",
    "array",
    "clusters",
    "predicted_cycles",
    "milliseconds_at_100_mhz",
    "macs",
    "weight_bits",
    "lane_use",
)
#: What a layer's entry keeps where layers are listed.
_LAYER_KEYS = ("name", "cycles", "lane_use", "bound_by", "stalls")


def cases(name: str) -> list[Options]:
    """All schemes of a network; the sparse ones at each density."""
    return [
        Options(scheme=scheme, density=density)
        for scheme in SCHEMES
        for density in (DENSITIES if scheme in bench.SPARSE else (DENSITY,))
    ]


def result(name: str, array: str, options: Options, *, simulated: bool = False) -> dict[str, Any]:
    """One entry of the results.

    ``fixed_cycles`` are those of the layers that have 8-bit weights in every scheme; ``bound`` has
    the cycles of the layers by what binds them.
    """
    network, config = build(name, options), preset(array)
    problems = check_network(network, config)
    if problems:
        asked = options.density if options.scheme in bench.SPARSE else None
        report = bench.refusal_report(network, problems, options, config)
        return {**report, "density": {"asked": asked}}
    bundle = compile_network(network, config)
    report = bench.bundle_report(network, bundle, options)
    entry = {key: report[key] for key in _KEYS}
    fixed = _fixed_layers(network, options)
    bound: dict[str, int] = {}
    for layer in report["layers"]:
        bound[layer["bound_by"]] = bound.get(layer["bound_by"], 0) + layer["cycles"]
    entry["bound"] = dict(sorted(bound.items()))
    entry["fixed_cycles"] = sum(
        layer["cycles"] for layer in report["layers"] if layer["name"] in fixed
    )
    entry["stalls"] = {
        kind: sum(layer["stalls"][kind] for layer in report["layers"])
        for kind in ("drain", "emitter")
    }
    if options.density == DENSITY:
        entry["layers"] = [{key: layer[key] for key in _LAYER_KEYS} for layer in report["layers"]]
    if simulated:
        measured = bench.simulate(network, bundle, seed=options.seed)
        for key in ("simulated_cycles", "equal_to_golden"):
            entry[key] = measured[key]
    return entry


def _fixed_layers(network: Network, options: Options) -> set[str]:
    """Names of the layers that have 8-bit weights in every scheme; none where all layers do."""
    if options.scheme == "int8":
        return set()
    return {
        layer.name
        for layer in network.layers
        if isinstance(layer, WeightLayer) and layer.scheme == "int"
    }


def collect(*, simulated: bool = False) -> dict[str, Any]:
    """All results."""
    runs: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for name, array in ARRAYS.items():
        for options in cases(name):
            print(f"{name} {options.scheme} {options.density:g}", flush=True)
            entry = result(name, array, options, simulated=simulated)
            (refused if "refused" in entry else runs).append(entry)
    for name, array in REFUSED.items():
        print(name, flush=True)
        entry = result(name, array, Options(density=DENSITY))
        (refused if "refused" in entry else runs).append(entry)
    return {"clock": bench.CLOCK_NOTE, "runs": runs, "refused": refused}


def _keep_simulated(results: dict[str, Any], earlier: dict[str, Any]) -> None:
    """Take over what was simulated before, where the prediction is still the same."""
    known = {_key(entry): entry for entry in earlier["runs"]}
    for entry in results["runs"]:
        before = known.get(_key(entry), {})
        if before.get("predicted_cycles") == entry["predicted_cycles"]:
            for key in ("simulated_cycles", "equal_to_golden"):
                if key in before:
                    entry.setdefault(key, before[key])


def _key(entry: dict[str, Any]) -> tuple[Any, ...]:
    return (entry["network"], entry["array"], entry["scheme"], entry["density"]["asked"])


def dumps(results: dict[str, Any]) -> str:
    """The text of the results file."""
    return json.dumps(results, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__)
    parser.add_argument("--simulate", action="store_true", help="run the gateware as well")
    arguments = parser.parse_args()
    results = collect(simulated=arguments.simulate)
    if RESULTS.exists():
        _keep_simulated(results, json.loads(RESULTS.read_text()))
    RESULTS.write_text(dumps(results))
    PERFORMANCE.write_text(performance(results))
    print(f"wrote {RESULTS.relative_to(ROOT)} and {PERFORMANCE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
