"""`plum demo`: the shipped network classifies shipped test images on the virtual board."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from plum_hw import console
from plum_hw.compiler import compile_network
from plum_hw.errors import ConfigError, PlumError
from plum_hw.golden.reference import Reference
from plum_hw.inference import Inference, load_labelled, print_result, run_images
from plum_hw.ir import load_network
from plum_hw.presets import preset
from plum_hw.report.gallery import gallery

NETWORK = "fashion.qnet"
IMAGES = "fashion-test-500.npz"


def shipped(name: str) -> Path:
    """A file that comes with the trained networks; a PlumError when it does not."""
    path = Path(str(files("plum_models"))) / "checkpoints" / name
    if not path.is_file():
        raise PlumError(f"{path} is missing; install the project from a checkout, or train anew")
    return path


def demo_command(
    device: Annotated[
        str, typer.Option(help="virtual, golden, a serial port, or socket://HOST:PORT.")
    ] = "virtual",
    array: Annotated[
        str,
        typer.Option(
            help="Array preset; one cluster is the quickest to simulate.", metavar="PRESET"
        ),
    ] = "single",
    limit: Annotated[
        int, typer.Option(parser=console.positive, metavar="N", help="Number of test images.")
    ] = 200,
    out: Annotated[Path, typer.Option(help="Folder for the compiled bundle.")] = Path("build/demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Classify Fashion-MNIST images on the gateware, compiled by Verilator."""
    network = load_network(shipped(NETWORK))
    bundle = compile_network(network, preset(array))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--out {out}: {error.strerror}; name a folder that can be written"
        ) from None
    bundle_file = out / "fashion.plum"
    bundle.save(bundle_file)
    images, labels = load_labelled(shipped(IMAGES), None, limit)
    result = run_images(bundle, images, labels, device=device)
    reference = np.array_equal(Reference(network).run(images), result.outputs)
    if as_json:
        report = result.as_dict()
        console.print_json({**report, "equal_to_reference": reference, "bundle": str(bundle_file)})
    else:
        _print_gallery(images, result, network.labels or ())
        print_result(result)
        console.say(f"equal to reference {'yes, every output' if reference else 'NO'}")
        console.say(f"Bundle: {bundle_file}. Layer by layer: plum cycles {bundle_file}")
    if not (result.equal_to_golden and reference and result.cycles_as_predicted):
        raise typer.Exit(1)


def _print_gallery(images: np.ndarray, result: Inference, names: tuple[str, ...]) -> None:
    """The first images and what they were taken for, where a terminal can show them."""
    if console.out.is_terminal and console.out.encoding.startswith("utf") and names:
        guesses = [names[number] for number in result.outputs.argmax(axis=1)]
        console.out.print(gallery(images[:, 0], guesses, console.out.width))
