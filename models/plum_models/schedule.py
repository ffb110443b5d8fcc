"""Optimizers, learning rates and losses: the parts of the recipe that are formulas."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plum_models.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Linear warm-up, then the schedule down to `last_lr`, per step."""
    warm, total = config.warmup * steps_per_epoch, config.epochs * steps_per_epoch
    if step < warm:
        return config.lr * (step + 1) / warm
    part = (step - warm) / max(total - warm, 1)
    left = {"cosine": 0.5 * (1 + math.cos(math.pi * part)), "linear": 1 - part, "constant": 1.0}
    return config.last_lr + (config.lr - config.last_lr) * left[config.schedule]


def make_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW or SGD with weight decay on weight matrices only."""
    matrices = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        nesterov = config.momentum > 0
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov)
    return torch.optim.AdamW(groups, lr=config.lr)


def loss_of(config: TrainConfig, logits: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
    """Cross entropy, mixed with the divergence from the teacher's logits where there are any."""
    loss = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    if taught is None:
        return loss
    t = config.temperature
    divergence = F.kl_div(
        F.log_softmax(logits / t, 1),
        F.log_softmax(taught / t, 1),
        log_target=True,
        reduction="batchmean",
    )
    return (1 - config.distill) * loss + config.distill * t * t * divergence
