"""Put a finished training among the shipped files: `python -m plum_models.publish RUNS/NAME`.

Writes NAME.safetensors (weights), NAME.log.jsonl, NAME.qnet, where the data's licence
allows it NAME-test-500.npz, and NAME.json, the figures measured here and now, which
`models/tests/test_shipped.py` measures again.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from plum_hw.errors import PlumError
from plum_models.checkpoint import load_checkpoint, save_checkpoint
from plum_models.datasets import open_data
from plum_models.errors import ModelError
from plum_models.evaluate import float_top1, images_for, integer_top1
from plum_models.export import integer_network, labels_for, save_samples
from plum_models.integers import integer_logits
from plum_models.runtime import keep_freed_memory
from plum_models.shipped import SHIPPED

SAMPLES = 500
REDISTRIBUTED = ("fashion",)
"""Data whose licence lets us ship images of it."""


def publish(result: Path, out: Path, data: Path | None) -> dict[str, object]:
    """Evaluate, export and copy the training that ended in `result`.safetensors."""
    checkpoint = load_checkpoint(result.with_name(result.name + ".safetensors"))
    progress, training, config = checkpoint.progress, checkpoint.training, checkpoint.network
    if "epochs" not in progress:
        raise ModelError(f"{checkpoint.path} is not the end of a training")
    kind = str(training.get("data", "fashion"))
    dataset = open_data(kind, data, size=config.image[1])
    test = images_for(checkpoint, data, None)
    net, name = checkpoint.build(), config.name
    report: dict[str, object] = {
        "network": config.family,
        "data": dataset.title,
        "scheme": config.label,
        "activation_bits": 32 if config.scheme == "full" else config.activation_bits,
        "epochs": progress["epochs"],
        "start": training.get("start", ""),
        "teacher": training.get("teacher", ""),
        "seed": training["seed"],
        "images": len(test),
        "weights": sum(conv.weight.numel() for _, conv in net.convolutions()),
        "density": round(net.density(), 4),
        "densities": {key: round(value, 4) for key, value in net.densities().items()},
        "float_top1": round(float_top1(net, test), 2),
    }
    out.mkdir(parents=True, exist_ok=True)
    if config.scheme != "full":
        network = integer_network(net, labels=labels_for(config, kind, data))
        samples = test.pixels(0, SAMPLES)
        right = integer_logits(network, samples).argmax(1) == test.labels[:SAMPLES]
        macs = sum(layer.macs(network.shape_of(layer.source)) for layer in network.layers)
        report |= {
            "macs": macs,
            "integer_top1": round(integer_top1(net, test), 2),
            "samples": SAMPLES,
            "samples_right": int(right.sum()),
        }
        network.save(out / f"{name}.qnet")
        if kind in REDISTRIBUTED and name == kind:
            save_samples(out / f"{name}-test-{SAMPLES}.npz", samples, test.labels[:SAMPLES])
    save_checkpoint(out / f"{name}.safetensors", net, progress=progress, training=training)
    shutil.copyfile(result.with_name(f"{name}.log.jsonl"), out / f"{name}.log.jsonl")
    (out / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def main(
    results: Annotated[
        list[Path], typer.Argument(help="folder and name of each training: RUNS/NAME")
    ],
    out: Annotated[Path, typer.Option(help="where to")] = SHIPPED,
    data: Annotated[Path | None, typer.Option(help="folder or file of the data set")] = None,
) -> None:
    """Evaluate, export and copy finished trainings; prints what it measured as JSON."""
    keep_freed_memory()
    try:
        for result in results:
            print(json.dumps(publish(result, out, data), indent=2))
    except (PlumError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
