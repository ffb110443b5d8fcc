"""Checkpoints: safetensors with JSON metadata, nothing executable.

Tensors `model.NAME`; a checkpoint to resume from also has `optimizer.NAME.KEY`. Metadata key
`plum_checkpoint`: JSON with `format`, `network` (NetworkConfig), `progress`, `training`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from plum_models.errors import ModelError
from plum_models.networks import NetworkConfig, PlumNet

FORMAT = "plum-checkpoint-2"
FIRST_FORMAT = "plum-checkpoint-1"


@dataclass
class Checkpoint:
    """One file in memory. `progress` and `training` are plain JSON values."""

    network: NetworkConfig
    tensors: dict[str, Tensor]
    progress: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    path: Path = Path()

    def build(self) -> PlumNet:
        """The network with the checkpoint's weights, in evaluation mode."""
        net = PlumNet(self.network)
        self.restore(net)
        return net.eval()

    def restore(self, net: PlumNet, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Copy weights (and the optimizer's state) into place; any mismatch is an error."""
        own = net.state_dict()
        found = {k[6:]: v for k, v in self.tensors.items() if k.startswith("model.")}
        if wrong := sorted(set(own) ^ set(found)):
            raise ModelError(f"{self.path}: tensor {wrong[0]!r} does not match this network")
        for name, tensor in own.items():
            if tensor.shape != found[name].shape:
                raise ModelError(
                    f"{self.path}: {name} is {tuple(found[name].shape)}, "
                    f"this network needs {tuple(tensor.shape)}"
                )
            tensor.copy_(found[name])
        if optimizer is not None:
            self._restore_optimizer(net, optimizer)

    def _restore_optimizer(self, net: PlumNet, optimizer: torch.optim.Optimizer) -> None:
        for name, parameter in net.named_parameters():
            prefix = f"optimizer.{name}."
            state = {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}
            # SGD without momentum keeps none; steps of activations may have had no gradient yet.
            if not state and parameter.dim() > 0 and optimizer.defaults.get("momentum", 1):
                raise ModelError(f"{self.path}: no optimizer state of {name}: weights only?")
            if not state:
                continue
            optimizer.state[parameter] = {
                key: torch.zeros_like(parameter).copy_(value) if value.dim() else value.clone()
                for key, value in state.items()
            }


def save_checkpoint(
    path: Path,
    net: PlumNet,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    progress: dict | None = None,
    training: dict | None = None,
) -> None:
    """Write a checkpoint in one step (a broken run leaves the old file whole)."""
    tensors = {f"model.{k}": v.detach().contiguous().clone() for k, v in net.state_dict().items()}
    if optimizer is not None:
        for name, parameter in net.named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{key}"] = value.detach().contiguous().clone()
    meta = {
        "format": FORMAT,
        "network": net.config.to_json(),
        "progress": progress or {},
        "training": training or {},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, {"plum_checkpoint": json.dumps(meta, sort_keys=True)})
    os.replace(partial, path)


def _from_first(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the first format, whose blocks had a container and activations a mark more."""
    return {
        name.replace("model.blocks.", "model."): tensor
        for name, tensor in tensors.items()
        if not name.endswith(".calibrated")
    }


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; one clear error for whatever is wrong with it."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "plum_checkpoint" not in metadata:
                raise ModelError(
                    f"{path} is a safetensors file, but not a checkpoint of this project"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read the checkpoint {path}: {error}") from error
    try:
        meta = json.loads(metadata["plum_checkpoint"])
        if meta["format"] == FIRST_FORMAT:
            tensors = _from_first(tensors)
        elif meta["format"] != FORMAT:
            raise ModelError(f"{path}: format {meta['format']!r}, this version reads {FORMAT!r}")
        network = NetworkConfig.from_json(meta["network"])
        return Checkpoint(network, tensors, meta["progress"], meta["training"], path)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: damaged metadata: {error}") from error
