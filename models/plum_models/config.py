"""Configuration of a training: a TOML file with the tables [network] and [training].

A run is described by that file alone; the command line adds paths and `--set KEY=VALUE` overrides.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path

from plum_models.errors import ModelError, check_types
from plum_models.networks import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train.

    *Parameters*: ``lr``: AdamW's peak, reached after ``warmup`` epochs, then half a cosine to zero;
    ``weight_decay``, on weight matrices only; ``shift``, ``flip``: augmentation, pixels and mirror;
    ``distill``: share of the teacher in the loss, at ``temperature``; ``threads`` of PyTorch (part
    of the result to the last bit); ``evaluate_every``: epochs between looks at the test images,
    which decide nothing; ``train_images``, ``test_images``: use only the first so many.
    """

    epochs: int = 20
    batch: int = 128
    lr: float = 2e-3
    warmup: float = 1.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    shift: int = 1
    flip: bool = True
    distill: float = 0.0
    temperature: float = 2.0
    seed: int = 0
    threads: int = 2
    evaluate_every: int = 1
    train_images: int = 60_000
    test_images: int = 10_000

    def __post_init__(self) -> None:
        check_types(self)
        lows = {"epochs": 1, "batch": 2, "threads": 1, "evaluate_every": 1, "train_images": 1}
        for name, low in {**lows, "test_images": 1, "shift": 0, "seed": 0, "warmup": 0}.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be {low} or more, got {getattr(self, name)}")
        if not 0.0 <= self.distill <= 1.0:
            raise ValueError(f"distill must lie in 0..1, got {self.distill}")


def read_config(path: Path, overrides: list[str]) -> tuple[NetworkConfig, TrainConfig]:
    """Read a configuration file; overrides are ``KEY=VALUE``, the value as in TOML."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"cannot read the configuration {path}: {error}") from error
    if unknown := sorted(set(tables) - {"network", "training"}):
        raise ModelError(f"{path}: unknown table or key {unknown[0]!r}; known: network, training")
    network, training = dict(tables.get("network", {})), dict(tables.get("training", {}))
    network_keys = {f.name for f in fields(NetworkConfig)}
    training_keys = {f.name for f in fields(TrainConfig)}
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals:
            raise ModelError(f"--set wants KEY=VALUE, got {item!r}")
        (network if key in network_keys else training)[key] = _value(text)
    if unknown := sorted(set(training) - training_keys):
        known = ", ".join(sorted(training_keys | network_keys))
        raise ModelError(f"unknown option {unknown[0]!r}; known: {known}")
    try:
        return NetworkConfig.from_json(network), replace(TrainConfig(), **training)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from error


def _value(text: str) -> object:
    """A value as TOML has it; anything else is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
