"""Configuration of a training: a TOML file with the tables [network] and [training].

A run is described by that file alone; the command line adds paths and `--set KEY=VALUE` overrides.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path

from plum_models.errors import ModelError, check_types
from plum_models.networks import NetworkConfig

CHOICES = {
    "optimizer": ("adam", "sgd"),
    "schedule": ("cosine", "linear", "constant"),
    "precision": ("float32", "bfloat16", "float16"),
}


_NOT_NEGATIVE = (
    *("lr", "last_lr", "warmup", "weight_decay", "clip_norm", "clip_latent", "shift", "jitter"),
    *("small_size", "small_epochs", "activations_from", "train_images", "test_images", "seed"),
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train.

    *Parameters*: ``data``, see `plum_models.datasets`; ``batch``: images a step, over all
    processes; ``optimizer``: "adam" (AdamW) or "sgd" (``momentum``, Nesterov); ``lr``: the peak,
    reached after ``warmup`` epochs, then by ``schedule`` to ``last_lr``; ``weight_decay``, on
    weight matrices only; ``clip_norm`` of all gradients together, ``clip_latent`` of latent weights
    after each step (0: off); ``precision`` of autocast (float16 needs a GPU and scales the loss);
    ``shift``, ``flip``, ``jitter``: augmentation, pixels, mirror and colours; ``teacher`` and
    ``start``: trainings whose network teaches or is started from, by name, looked for in the folder
    of the results and among the shipped ones; ``distill``: share of the teacher in the loss, at
    ``temperature``; ``small_size``, ``small_epochs``: so many epochs at first see random parts of
    that side, which cost less; ``activations_from``: first epoch with quantized activations;
    ``threads`` of PyTorch (part of the result to the last bit); ``evaluate_every``: epochs between
    looks at the test images, which decide nothing;
    ``train_images``, ``test_images``: use only so many of each, spread over all (0: all).
    """

    data: str = "fashion"
    epochs: int = 20
    batch: int = 128
    optimizer: str = "adam"
    momentum: float = 0.9
    lr: float = 2e-3
    last_lr: float = 0.0
    warmup: float = 1.0
    schedule: str = "cosine"
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    clip_latent: float = 0.0
    label_smoothing: float = 0.0
    precision: str = "float32"
    shift: int = 1
    flip: bool = True
    jitter: float = 0.0
    teacher: str = ""
    start: str = ""
    distill: float = 0.0
    temperature: float = 2.0
    small_size: int = 0
    small_epochs: int = 0
    activations_from: int = 0
    seed: int = 0
    threads: int = 2
    evaluate_every: int = 1
    train_images: int = 0
    test_images: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        lows = {"epochs": 1, "batch": 2, "threads": 1, "evaluate_every": 1}
        for name in _NOT_NEGATIVE:
            lows[name] = 0
        for name, low in lows.items():
            if not getattr(self, name) >= low:
                raise ValueError(f"{name} must be {low} or more, got {getattr(self, name)}")
        if self.activations_from >= self.epochs:
            raise ValueError(
                f"activations_from must be below {self.epochs} epochs, got {self.activations_from}"
            )
        if not 0.0 <= self.distill <= 1.0:
            raise ValueError(f"distill must lie in 0..1, got {self.distill}")
        if not 0.0 <= self.jitter < 1.0:
            raise ValueError(f"jitter must lie in 0..1 (1 excluded), got {self.jitter}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}"
                )


def read_config(path: Path, overrides: list[str]) -> tuple[NetworkConfig, TrainConfig]:
    """Read a configuration file; overrides are ``KEY=VALUE``, the value as in TOML."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"cannot read the configuration {path}: {reason}") from error
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
