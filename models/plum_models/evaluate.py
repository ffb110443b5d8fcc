"""Top-1 of a checkpoint, float or integer-exact: `python -m plum_models.evaluate`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from plum_hw.errors import PlumError
from plum_models.checkpoint import Checkpoint, load_checkpoint
from plum_models.data import Images, Split, to_float
from plum_models.datasets import open_data
from plum_models.errors import ModelError
from plum_models.export import integer_network
from plum_models.integers import integer_logits
from plum_models.networks import PlumNet
from plum_models.runtime import keep_freed_memory
from plum_models.shipped import shipped


def _percent(right: int, split: Images) -> float:
    return 100.0 * right / len(split)


@torch.no_grad()
def float_top1(net: PlumNet, split: Images, batch: int = 250) -> float:
    """Top-1 in percent of the float network with fake quantization, evaluation mode."""
    was_training = net.training
    net.eval()
    device = next(net.parameters()).device
    right = 0
    for start in range(0, len(split), batch):
        images = to_float(split.pixels(start, start + batch).to(device))
        logits = net(images.contiguous(memory_format=torch.channels_last)).cpu()
        right += int((logits.argmax(1) == split.labels[start : start + batch]).sum())
    net.train(was_training)
    return _percent(right, split)


@torch.no_grad()
def integer_top1(net: PlumNet, split: Images, batch: int = 250) -> float:
    """Top-1 in percent of the exported integers, evaluated exactly."""
    network = integer_network(net)
    right = 0
    for start in range(0, len(split), batch):
        logits = integer_logits(network, split.pixels(start, start + batch))
        right += int((logits.argmax(1) == split.labels[start : start + batch]).sum())
    return _percent(right, split)


def load_samples(path: Path) -> Split:
    """Images and labels of a sample file (.npz with uint8 `images`, `labels`)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(f"cannot read the samples {path}: {error}") from error
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels):
        raise ModelError(f"{path}: images are {images.dtype} {images.shape}, labels {labels.shape}")
    return Split(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


def images_for(found: Checkpoint, data: Path | None, samples: Path | None) -> Images:
    """What a checkpoint is tested on: a sample file, or the test images of its data set."""
    shape = found.network.image
    split: Images
    if samples is not None:
        split = load_samples(samples)
    else:
        kind = str(found.training.get("data", "fashion"))
        split = open_data(kind, data, size=shape[1]).split(train=False)
    if split.shape != shape:
        raise ModelError(f"{found.path}: made for images of {shape}, these are {split.shape}")
    return split


def main(
    checkpoint: Annotated[Path | None, typer.Option(help="trained network (.safetensors)")] = None,
    network: Annotated[
        str | None, typer.Option(help="a shipped network instead, such as fashion")
    ] = None,
    scheme: Annotated[str, typer.Option(help="with --network: of its weights")] = "signed-binary",
    integer: Annotated[bool, typer.Option(help="evaluate the exported integers")] = False,
    data: Annotated[Path | None, typer.Option(help="folder or file of the data set")] = None,
    images: Annotated[Path | None, typer.Option(help="an .npz of samples instead")] = None,
    limit: Annotated[
        int, typer.Option(help="only so many images, spread over all (0: all)", min=0)
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="report as JSON on stdout")] = False,
) -> None:
    """Evaluate a checkpoint on all test images of its data set, or on a sample file."""
    try:
        keep_freed_memory()
        if (checkpoint is None) == (network is None):
            raise ModelError("give either --checkpoint FILE or --network NAME")
        path = checkpoint if network is None else shipped(network, scheme)
        assert path is not None
        found = load_checkpoint(path)
        net, split = found.build(), images_for(found, data, images).some(limit)
        began = time.perf_counter()
        top1 = (integer_top1 if integer else float_top1)(net, split)
    except PlumError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    report = {
        "network": net.config.family,
        "scheme": net.config.label,
        "arithmetic": "integer" if integer else "float",
        "top1": round(top1, 4),
        "images": len(split),
        "density": round(net.density(), 4),
        "layers": [
            {"name": name, "density": round(value, 4)} for name, value in net.densities().items()
        ],
        "seconds": round(time.perf_counter() - began, 1),
    }
    if as_json:
        print(json.dumps(report))
        return
    print(f"top-1 {top1:.2f} % of {len(split)} images ({report['arithmetic']})")
    for name, value in net.densities().items():
        print(f"  {name:<12} density {value:.3f}")
    print(f"  {'all':<12} density {net.density():.3f}")


if __name__ == "__main__":
    typer.run(main)
