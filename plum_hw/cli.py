"""`plum`: the command line. `python -m plum_hw` is the same.

Commands only parse, call and print; the work is in the packages. Every command that reports takes
`--json`; every error is one line and exit code 2.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from plum_host.bundle import Bundle
from plum_hw import __version__, console
from plum_hw.bench import bench_command
from plum_hw.boards.flash import flash_command
from plum_hw.boards.listing import boards_command
from plum_hw.build import build_command
from plum_hw.compiler import check_network, compile_network
from plum_hw.demo import demo_command
from plum_hw.doctor import doctor_command
from plum_hw.errors import BuildError
from plum_hw.explore.command import explore_command
from plum_hw.inference import load_labelled, print_result, run_images
from plum_hw.ir import load_network
from plum_hw.link_bench import link_bench_command
from plum_hw.presets import preset
from plum_hw.report.cycles import cycles_report, cycles_table
from plum_hw.soc.commands import flash_image_command, simulate_soc_command

app = typer.Typer(
    name="plum",
    help="Accelerators for signed-binary networks: compile, simulate, build, run.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

NetworkArg = Annotated[Path, typer.Argument(help="Network file (.qnet).", metavar="NETWORK")]
BundleArg = Annotated[Path, typer.Argument(help="Compiled bundle (.plum).", metavar="BUNDLE")]
ArrayOption = Annotated[str, typer.Option("--array", help="Array preset.", metavar="PRESET")]
LimitOption = Annotated[
    int | None,
    typer.Option(parser=console.positive, metavar="N", help="Only the first N images."),
]
BatchOption = Annotated[
    int,
    typer.Option(metavar="N", help="Inputs that a dense network computes at a time: see the docs."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")]


#: Everything behind the command's name is for the command that is called.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.callback(invoke_without_command=True)
def plum(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Accelerators for signed-binary networks: compile, simulate, build, run."""
    if version:
        console.say(f"plum_hw {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.get_help()


@app.command("compile")
def compile_command(
    network: NetworkArg,
    array: ArrayOption,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Bundle to write.", show_default="NETWORK's name.plum"),
    ] = None,
    batch: BatchOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Place, schedule and pack a network for one array; predict its cycles."""
    bundle = compile_network(load_network(network), preset(array), batch=batch)
    target = output or network.with_suffix(".plum")
    bundle.save(target)
    if as_json:
        console.print_json({"bundle": str(target), **cycles_report(bundle)})
    else:
        console.out.print(cycles_table(bundle))
        console.say(f"Wrote {target} ({target.stat().st_size:,} bytes).")


@app.command()
def check(
    network: NetworkArg, array: ArrayOption, batch: BatchOption = 1, as_json: JsonOption = False
) -> None:
    """Name everything the array cannot do of a network, before anything is built.

    Exit code 1 when there is something.
    """
    problems = check_network(load_network(network), preset(array), batch)
    if as_json:
        console.print_json(
            {
                "network": str(network),
                "array": array,
                "supported": not problems,
                "problems": [
                    {"layer": item.layer, "what": item.what, "remedy": item.remedy}
                    for item in problems
                ],
            }
        )
    elif problems:
        for item in problems:
            console.say(item.text)
    else:
        console.say(f"{network}: runs on {array}")
    raise typer.Exit(1 if problems else 0)


@app.command()
def run(
    bundle: BundleArg,
    images: Annotated[Path, typer.Option(help="Images: .npz, .npy or idx, unsigned 8-bit.")],
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="golden, virtual, a serial port, or socket://HOST:PORT. Several times: images are "
            "spread over them.",
            show_default="virtual",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labels, where the image file has none.")
    ] = None,
    limit: LimitOption = None,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast", help="Serial ports: first find the fastest line rate that is clean."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Classify images on one device or several; compare every output with the golden machine."""
    loaded = Bundle.load(bundle)
    pictures, classes = load_labelled(images, labels, limit)
    devices = device or ["virtual"]
    result = run_images(loaded, pictures, classes, device=devices, fast=fast)
    if as_json:
        console.print_json(result.as_dict())
    else:
        print_result(result)
    if not result.equal_to_golden or not result.cycles_as_predicted:
        raise typer.Exit(1)


@app.command()
def cycles(bundle: BundleArg, as_json: JsonOption = False) -> None:
    """Predicted cycles of each layer, and what bounds it."""
    loaded = Bundle.load(bundle)
    if as_json:
        console.print_json(cycles_report(loaded))
    else:
        console.out.print(cycles_table(loaded))


@app.command()
def info(bundle: BundleArg, as_json: JsonOption = False) -> None:
    """What a bundle holds: network, array, memories."""
    loaded = Bundle.load(bundle)
    report = info_report(loaded)
    if as_json:
        console.print_json(report)
        return
    for key, value in report.items():
        if isinstance(value, dict):
            value = value.get("name") or ", ".join(f"{name} {part}" for name, part in value.items())
        console.say(f"{key:<17} {value}")


app.command("boards")(boards_command)
app.command("build")(build_command)
app.command("flash")(flash_command)
app.command("explore")(explore_command)
app.command("demo")(demo_command)
app.command("bench")(bench_command)
app.command("flash-image")(flash_image_command)
app.command("simulate-soc")(simulate_soc_command)
app.command("bench-link")(link_bench_command)
app.command("doctor")(doctor_command)


@app.command("train", add_help_option=False, context_settings=_PASS_ON)
def train_command(context: typer.Context) -> None:
    """Train networks for the array (`python -m plum_models.train`; needs the extra `train`)."""
    remedy = "pip install 'plum-hw[train]', or ./plum.sh setup"
    found = list(entry_points(group="plum_hw.commands", name="train"))
    if not found:
        raise BuildError(f"plum train is not part of this installation; {remedy}")
    try:
        function = found[0].load()
    except ImportError as error:
        raise BuildError(f"plum train needs PyTorch: {error}; {remedy}") from None
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(function)
    console.run(command, "plum train", context.args)


def info_report(bundle: Bundle) -> dict[str, Any]:
    """`plum info --json`."""
    manifest = bundle.manifest
    config = manifest["config"]
    used = {
        kind: max(len(words) for part in getattr(bundle, kind) for words in part)
        for kind in ("code", "table")
    }
    return {
        "network": manifest["network"],
        "array": config["name"],
        "clusters": config["clusters"],
        "lanes": config["lanes"],
        "digest": manifest["digest"],
        "input": manifest["input"]["shape"],
        "output": manifest["output"]["shape"],
        "layers": len(manifest["layers"]),
        "parts": len(bundle.parts),
        "batch": bundle.batch,
        "predicted_cycles": manifest["predicted_cycles"],
        "words": {kind: f"{count} of {config[f'{kind}_depth']}" for kind, count in used.items()},
    }


def main() -> None:
    """Entry point of `plum`."""
    console.run(app, "plum")
