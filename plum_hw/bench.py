"""`plum bench`: one network of the zoo in one or all schemes, on the same gateware.

Only the weights of the middle layers differ between schemes; network, activations and array are the
same. Cycles are the compiler's prediction, which the simulation must equal.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from plum_host.bundle import Bundle
from plum_hw import console
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.errors import ConfigError, UnsupportedError
from plum_hw.golden.reference import Reference
from plum_hw.inference import run_images
from plum_hw.ir import Network, WeightLayer
from plum_hw.ir.random import random_images
from plum_hw.presets import preset
from plum_hw.report.cycles import layer_row, layers_report
from plum_hw.report.weights import mask_words
from plum_hw.zoo import NAMES, SCHEMES, Options, build

#: No preset was placed and routed yet: milliseconds are for this clock and say so.
ASSUMED_CLOCK_MHZ = 100
CLOCK_NOTE = f"{ASSUMED_CLOCK_MHZ} MHz assumed, not placed and routed"
#: Schemes whose non-zero weights are a matter of choice.
SPARSE = ("signed-binary", "ternary")
#: What the others are compared with.
OURS = "signed-binary"
_SIMULATED_IMAGES = 3

#: What `--group` may be, and what the compiler is told: filters that share additions.
GROUPS = {"auto": None, "1": 1, "2": 2}


def middle_density(network: Network) -> float:
    """Share of non-zero weights in the middle layers: those that do not have 8-bit weights, or all
    of them where there are no others.
    """
    layers = [layer for layer in network.layers if isinstance(layer, WeightLayer)]
    middle = [layer for layer in layers if layer.scheme != "int"] or layers
    used = sum(int(np.count_nonzero(layer.weight)) for layer in middle)
    return used / sum(layer.weight.size for layer in middle)


def bundle_report(
    network: Network, bundle: Bundle, options: Options, group: int | None
) -> dict[str, Any]:
    """Figures of one compiled network, as `plum bench --json` gives them.

    ``lane_use`` of the network is the mean of its layers' by cycles; ``weight_bits`` are the mask
    bits that are stored, whole words, over all clusters; ``parts`` are loaded one after another for
    every image where there are several.
    """
    manifest = bundle.manifest
    config = manifest["config"]
    cycles = manifest["predicted_cycles"]
    layers = layers_report(bundle)
    used = sum(layer["lane_use"] * layer["cycles"] for layer in layers)
    asked = options.density if options.scheme in SPARSE else None
    return {
        "network": network.name,
        "scheme": options.scheme,
        "density": {"asked": asked, "real": round(middle_density(network), 6)},
        "seed": options.seed,
        "act_bits": options.act_bits,
        "array": config["name"],
        "clusters": config["clusters"],
        "group": "auto" if group is None else group,
        "parts": len(bundle.parts),
        "batch": bundle.batch,
        "predicted_cycles": cycles,
        "cycles_an_input": round(cycles / bundle.batch, 1),
        "milliseconds_at_100_mhz": round(cycles / (1000 * ASSUMED_CLOCK_MHZ), 5),
        "clock": CLOCK_NOTE,
        "macs": network.macs() * bundle.batch,
        "weight_bits": mask_words(bundle) * config["mask_bits"],
        "lane_use": round(used / cycles, 4),
        "layers": layers,
    }


def measure(
    name: str,
    options: Options,
    config: ArrayConfig,
    group: int | None = None,
    *,
    batch: int = 1,
    simulated: bool = False,
) -> dict[str, Any]:
    """`bundle_report` of a network of the zoo, with what `simulate` says if that is asked for.

    Where the array cannot hold the network, ``refused`` has all its reasons instead of the figures.
    """
    network = build(name, options)
    try:
        bundle = compile_network(network, config, group=group, batch=batch)
    except UnsupportedError as error:
        problems = [problem.text for problem in check_network(network, config, batch)]
        return refusal_report(network, problems or [str(error)], options, config)
    report = bundle_report(network, bundle, options, group)
    return report | simulate(network, bundle, seed=options.seed) if simulated else report


def refusal_report(
    network: Network, problems: list[str], options: Options, config: ArrayConfig
) -> dict[str, Any]:
    """What is said of a network that the array cannot hold."""
    return {
        "network": network.name,
        "scheme": options.scheme,
        "density": {"asked": options.density if options.scheme in SPARSE else None},
        "array": config.name,
        "macs": network.macs(),
        "refused": problems,
    }


def simulate(
    network: Network,
    bundle: Bundle,
    *,
    seed: int,
    images: int = _SIMULATED_IMAGES,
    device: str = "virtual",
) -> dict[str, Any]:
    """Run a few images (or batches) and compare: every output with golden machine and reference,
    every layer's cycles with the prediction.

    Returns ``simulated_cycles`` (a list where images differ), ``cycles_as_predicted``,
    ``equal_to_golden``, ``images``, ``seconds`` (wall time of the device's part).
    """
    # The first two are all zero and all at the largest value: one image alone is noise.
    drawn = random_images(network, max(images, _SIMULATED_IMAGES) * bundle.batch, seed)
    drawn = drawn[len(drawn) - images * bundle.batch :]
    result = run_images(bundle, drawn, None, device=device)
    reference = bool((Reference(network).run(drawn) == result.outputs).all())
    return {
        "simulated_cycles": result.simulated_cycles,
        "cycles_as_predicted": result.cycles_as_predicted,
        "equal_to_golden": result.equal_to_golden and reference,
        "images": len(drawn),
        "seconds": round(result.seconds, 3),
    }


def ratios(reports: list[dict[str, Any]]) -> dict[str, float | None]:
    """Cycles of each scheme over those of signed binary; None where either is refused."""
    cycles = {each["scheme"]: each.get("predicted_cycles") for each in reports}
    ours = cycles[OURS]
    return {
        scheme: round(count / ours, 4) if count and ours else None
        for scheme, count in cycles.items()
        if scheme != OURS
    }


# ---- the command ---------------------------------------------------------------------------------


def bench_command(
    network: Annotated[str, typer.Argument(help=f"One of {', '.join(NAMES)}.", metavar="NET")],
    scheme: Annotated[
        str, typer.Option(help=f"Weights of the middle layers: {', '.join(SCHEMES)}.")
    ] = OURS,
    density: Annotated[
        float, typer.Option(metavar="D", help="Share of non-zero weights (signed-binary, ternary).")
    ] = 0.35,
    array: Annotated[str, typer.Option(help="Array preset.", metavar="PRESET")] = "arty-a7-35t",
    seed: Annotated[int, typer.Option(metavar="S", help="Of weights and images.")] = 0,
    group: Annotated[
        str,
        typer.Option(metavar="T", help="Filters that share additions: 1, 2, or auto by layer."),
    ] = "auto",
    act_bits: Annotated[int, typer.Option(metavar="A", help="Bits of the activations.")] = 8,
    batch: Annotated[
        int, typer.Option(metavar="N", help="Inputs that a dense network computes at a time.")
    ] = 1,
    compare: Annotated[
        bool, typer.Option("--compare", help="All schemes, and their ratios to signed binary.")
    ] = False,
    simulated: Annotated[
        bool, typer.Option("--simulate", help="Run the RTL and compare cycles and outputs.")
    ] = False,
    layers: Annotated[bool, typer.Option("--layers", help="Layer by layer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Cycles of a network with random weights, by scheme and density, on one array.

    Those of dense networks with --batch are for all its inputs together.
    """
    config = preset(array)
    if group not in GROUPS:
        raise ConfigError(f"--group {group}: it must be one of {', '.join(GROUPS)}")
    schemes = SCHEMES if compare else (scheme,)
    reports = []
    for each in schemes:
        options = Options(scheme=each, density=density, seed=seed, act_bits=act_bits)
        reports.append(
            measure(network, options, config, GROUPS[group], batch=batch, simulated=simulated)
        )
    if not compare and "refused" in reports[0]:
        raise UnsupportedError(
            f"{network} ({scheme}) does not fit {array}: {'; '.join(reports[0]['refused'])}"
        )
    if as_json and compare:
        if not layers:
            for report in reports:
                report.pop("layers", None)
        console.print_json(
            {"network": network, "array": array, "schemes": reports, "ratios": ratios(reports)}
        )
    elif as_json:
        console.print_json(reports[0])
    else:
        _print(reports, layers)
    if any(_wrong(report) for report in reports):
        raise typer.Exit(1)


def _wrong(report: dict[str, Any]) -> bool:
    """Whether a simulation showed something else than was predicted."""
    return not (report.get("equal_to_golden", True) and report.get("cycles_as_predicted", True))


def _print(reports: list[dict[str, Any]], layers: bool) -> None:
    first = reports[0]
    compare = ratios(reports) if len(reports) > 1 else {}
    of = "" if first.get("batch", 1) == 1 else f" for a batch of {first['batch']}"
    console.say(f"{first['network']} on {first['array']}, {first['macs']:,} MAC{of}, {CLOCK_NOTE}")
    table = _grid("scheme", "density", "cycles", "ms", "lanes", "kbit", "ratio")
    for report in reports:
        if "refused" not in report:
            ratio = compare.get(report["scheme"], 1.0)
            table.add_row(
                report["scheme"],
                f"{report['density']['real']:.3f}",
                f"{report['predicted_cycles']:,}",
                f"{report['milliseconds_at_100_mhz']:.3f}",
                f"{100 * report['lane_use']:.0f} %",
                f"{report['weight_bits'] / 1000:,.0f}",
                "-" if ratio is None else f"{ratio:.2f}",
            )
    console.out.print(table)
    for report in reports:
        if "refused" in report:
            console.say(f"{report['scheme']}: refused: {'; '.join(report['refused'])}")
        if "simulated_cycles" in report:
            counted = report["simulated_cycles"]
            console.say(
                f"{report['scheme']}: {report['images']} images on the RTL: {counted} cycles, "
                f"{'as predicted' if report['cycles_as_predicted'] else 'NOT AS PREDICTED'}, "
                f"{'equal to golden' if report['equal_to_golden'] else 'NOT EQUAL TO GOLDEN'}"
            )
        if layers and "layers" in report:
            console.out.print(_layer_table(report))


def _layer_table(report: dict[str, Any]) -> Table:
    headings = ("cycles", "beats", "stalls", "density", "T", "RxF", "lanes", "bound by")
    table = _grid(report["scheme"], *headings)
    for layer in report["layers"]:
        row = layer_row(layer)
        table.add_row(layer["name"], *(row[heading] for heading in headings))
    return table


def _grid(*headings: str) -> Table:
    """A table without lines: names left, figures right."""
    table = Table.grid(padding=(0, 2))
    for index in range(len(headings)):
        table.add_column(justify="right" if index else "left")
    table.add_row(*headings, style="bold")
    return table
