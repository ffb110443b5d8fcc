"""The ablations of the study: many short trainings that differ in one option each.

They are for comparison among themselves at the size that is written beside them, no results: the
same small network, a part of the data, a few epochs.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from plum_models.checkpoint import load_checkpoint
from plum_models.config import TrainConfig
from plum_models.data import Images
from plum_models.errors import ModelError
from plum_models.evaluate import float_top1
from plum_models.networks import NetworkConfig, PlumNet
from plum_models.trainer import Run, train

BASE = NetworkConfig(
    name="base",
    stem=8,
    widths=(16, 32),
    blocks=(1, 1),
    strides=(2, 2),
    threshold=0.05,
    offset=True,
)

#: Option and its values; what is not named is as in `BASE`.
OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "scheme": (
        {"scheme": "full"},
        {"scheme": "binary"},
        {"scheme": "ternary"},
        {"scheme": "signed_binary", "offset": False},
        {"scheme": "signed_binary", "offset": True},
    ),
    "positive_share": tuple({"positive_share": share} for share in (0.0, 0.25, 0.5, 0.75, 1.0)),
    "threshold": tuple({"threshold": value} for value in (0.01, 0.05, 0.1, 0.2)),
    "target_density": tuple({"target_density": share} for share in (0.2, 0.36, 0.5)),
    "region": tuple({"region": size} for size in (0, 4, 1)),
    "ede, no offset": ({"offset": False, "ede": False}, {"offset": False, "ede": True}),
    "activation_bits": tuple({"activation_bits": bits} for bits in (8, 4, 3, 2)),
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much each of the trainings may cost."""

    epochs: int = 5
    train_images: int = 12_000
    test_images: int = 10_000
    seed: int = 0

    def training(self) -> TrainConfig:
        """The recipe of all of them."""
        return TrainConfig(
            epochs=self.epochs,
            train_images=self.train_images,
            test_images=self.test_images,
            seed=self.seed,
            lr=4e-3,
            threads=1,
            evaluate_every=self.epochs,
        )

    def __str__(self) -> str:
        return (
            f"{self.epochs} epochs of {self.train_images:,} images, seed {self.seed}: "
            "differences of less than about a point mean nothing"
        )


def variants() -> Iterator[tuple[str, str, NetworkConfig]]:
    """Option, value and network of each training; equal networks have equal names."""
    for option, values in OPTIONS.items():
        for changes in values:
            config = replace(BASE, **changes)
            label = config.label if option == "scheme" else str(list(changes.values())[-1])
            different = [
                f"{key}-{value}"
                for key, value in config.to_json().items()
                if value != getattr(BASE, key)
            ]
            name = "_".join(different).replace(".", "p") or "base"
            yield option, label, replace(config, name=name)


def trained(run: Run) -> PlumNet:
    """The network of a training: that of an earlier call where it ended, else trained now."""
    path = run.file("safetensors")
    if path.is_file():
        found = load_checkpoint(path)
        if found.network == run.network and found.progress.get("epochs") == run.training.epochs:
            return found.build()
    train(run)
    return load_checkpoint(path).build()


def ablate(
    train_images: Images, test_images: Images, out: Path, size: Size, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, PlumNet]]:
    """Train all variants; rows for the table, and the networks of the option "scheme"."""
    if train_images.shape != BASE.image:
        raise ModelError(f"ablations use images of {BASE.image}, these are {train_images.shape}")
    rows: list[dict[str, Any]] = []
    networks: dict[str, PlumNet] = {}
    scores: dict[str, tuple[PlumNet, float]] = {}
    work = list(variants())
    for number, (option, value, config) in enumerate(work, start=1):
        if config.name not in scores:
            run = Run(
                network=config,
                training=size.training(),
                train=train_images,
                test=test_images,
                out=out,
                console=Console(file=io.StringIO()),
            )
            net = trained(run)
            scores[config.name] = net, float_top1(net, test_images)
        net, top1 = scores[config.name]
        density = net.density()
        rows.append(
            {"option": option, "value": value, "top1": round(top1, 2), "density": round(density, 4)}
        )
        if option == "scheme":
            networks[value] = net
        say(f"{number} of {len(work)}: {option} {value}: {top1:.2f} %, density {density:.3f}")
    return rows, networks
