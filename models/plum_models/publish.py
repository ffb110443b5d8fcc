"""Put a finished training among the shipped files: `python -m plum_models.publish RUNS/NAME`.

Writes NAME.safetensors (weights), NAME.log.jsonl, NAME.qnet, NAME-test-500.npz and NAME.json, the
figures measured here and now, which `models/tests/test_shipped.py` measures again.
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
from plum_models.data import LABELS, load_fashion
from plum_models.errors import ModelError
from plum_models.evaluate import float_top1, integer_top1
from plum_models.export import integer_logits, integer_network, save_samples
from plum_models.runtime import keep_freed_memory

SAMPLES = 500


def publish(result: Path, out: Path, data: Path | None) -> dict[str, object]:
    """Evaluate, export and copy the training that ended in `result`.safetensors."""
    checkpoint = load_checkpoint(result.with_name(result.name + ".safetensors"))
    if "epochs" not in checkpoint.progress:
        raise ModelError(f"{checkpoint.path} is not the end of a training")
    net, name, test = checkpoint.build(), checkpoint.network.name, load_fashion(data, train=False)
    network = integer_network(net, labels=LABELS)
    samples = test.first(SAMPLES)
    logits = integer_logits(network, samples.images)
    progress, training = checkpoint.progress, checkpoint.training
    report: dict[str, object] = {
        "network": name,
        "data": "Fashion-MNIST",
        "scheme": checkpoint.network.scheme,
        "activation_bits": checkpoint.network.activation_bits,
        "epochs": progress["epochs"],
        "seed": training["seed"],
        "images": len(test),
        "macs": sum(layer.macs(network.shape_of(layer.source)) for layer in network.layers),
        "weights": sum(conv.weight.numel() for _, conv in net.convolutions()),
        "density": round(net.density(), 4),
        "densities": {key: round(value, 4) for key, value in net.densities().items()},
        "float_top1": round(float_top1(net, test), 2),
        "integer_top1": round(integer_top1(net, test), 2),
        "samples": SAMPLES,
        "samples_right": int((logits.argmax(1) == samples.labels).sum()),
    }
    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out / f"{name}.safetensors", net, progress=progress, training=training)
    shutil.copyfile(result.with_name(f"{name}.log.jsonl"), out / f"{name}.log.jsonl")
    network.save(out / f"{name}.qnet")
    save_samples(out / f"{name}-test-{SAMPLES}.npz", samples.images, samples.labels)
    (out / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def main(
    result: Annotated[Path, typer.Argument(help="folder and name of the training: RUNS/NAME")],
    out: Annotated[Path, typer.Option(help="where to")] = Path(__file__).parent / "checkpoints",
    data: Annotated[Path | None, typer.Option(help="folder of the idx files")] = None,
) -> None:
    """Evaluate, export and copy a finished training; prints what it measured as JSON."""
    keep_freed_memory()
    try:
        print(json.dumps(publish(result, out, data), indent=2))
    except (PlumError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
