"""The training loop.

Everything random is a function of (seed, epoch, step) alone, so a run that was stopped and resumed
ends in the same bits as one that was not (same machine, same number of threads).
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from plum_models.checkpoint import Checkpoint, save_checkpoint
from plum_models.config import TrainConfig
from plum_models.data import Augmenter, Split, stream
from plum_models.errors import ModelError
from plum_models.evaluate import float_top1
from plum_models.networks import NetworkConfig, ResidualNet

_ORDER, _AUGMENT, _INIT = 1, 2, 3  # keys of the random streams


@dataclass(kw_only=True)
class Run:
    """One training: what, on what, from where and where to.

    *Parameters*: ``teacher`` to distill from; ``start_from``: a full-precision net of the same
    shape; ``resume``: a state to go on from; ``stop_after``: total steps to stop at;
    ``save_every``: steps between states, besides the one after each epoch (0: none).
    """

    network: NetworkConfig
    training: TrainConfig
    train: Split
    test: Split
    out: Path
    teacher: ResidualNet | None = None
    start_from: ResidualNet | None = None
    resume: Checkpoint | None = None
    stop_after: int | None = None
    save_every: int = 0
    console: Console = field(default_factory=lambda: Console(stderr=True))

    def file(self, suffix: str) -> Path:
        """``OUT/NAME.suffix``."""
        return self.out / f"{self.network.name}.{suffix}"


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Linear warm-up, then half a cosine down to zero, per step."""
    warm, total = config.warmup * steps_per_epoch, config.epochs * steps_per_epoch
    if step < warm:
        return config.lr * (step + 1) / warm
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(total - warm, 1)))


def make_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on weight matrices only."""
    matrices = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
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


class Trainer:
    """A network on its way: weights, optimizer and how far it is.

    *Members*: ``net``, ``optimizer``; ``done``, steps taken in all; ``loss_sum`` and ``right``,
    over the present epoch.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.config = run, run.training
        torch.set_num_threads(self.config.threads)
        self.per_epoch = len(run.train) // self.config.batch
        if self.per_epoch == 0:
            raise ModelError(
                f"{len(run.train)} images are fewer than one batch of {self.config.batch}"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(self.config.seed, _INIT).initial_seed())
            net = ResidualNet(run.network)
        if run.start_from is not None:
            net.start_from(run.start_from)
        self.net = net.to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(net, self.config)
        self.augmenter = Augmenter(run.train.images, shift=self.config.shift, flip=self.config.flip)
        self.done, self.loss_sum, self.right = 0, 0.0, 0
        if run.resume is not None:
            self._resume(run.resume)

    def _resume(self, state: Checkpoint) -> None:
        if state.network != self.run.network or state.training != asdict(self.config):
            raise ModelError(f"{state.path} was made with another configuration")
        state.restore(self.net, self.optimizer)
        try:
            self.done = int(state.progress["step"])
            self.loss_sum = float(state.progress["loss_sum"])
            self.right = int(state.progress["right"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{state.path}: no progress to resume from: {error}") from error

    def save_state(self) -> None:
        """Write all that a resumed run needs."""
        save_checkpoint(
            self.run.file("state.safetensors"),
            self.net,
            optimizer=self.optimizer,
            progress={"step": self.done, "loss_sum": self.loss_sum, "right": self.right},
            training=asdict(self.config),
        )

    def step(self, picked: Tensor, epoch: int, step: int) -> float:
        """Train on one batch; returns its loss."""
        images = self.augmenter.batch(picked, stream(self.config.seed, _AUGMENT, epoch, step))
        images = images.contiguous(memory_format=torch.channels_last)
        labels = self.run.train.labels[picked]
        taught = None
        if self.run.teacher is not None and self.config.distill:
            with torch.no_grad():
                taught = self.run.teacher(images)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.done, self.per_epoch)
        logits = self.net(images)
        loss = loss_of(self.config, logits, labels, taught)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"loss is {value} at epoch {epoch + 1}, step {step + 1}: "
                f"a learning rate below {self.config.lr} may help"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.done += 1
        self.loss_sum += value
        self.right += int((logits.argmax(1) == labels).sum())
        return value

    def epoch(self, last: int, bar: Progress, task: TaskID) -> bool:
        """Train to the end of the epoch, or to step `last`; whether its end was reached."""
        epoch, first = divmod(self.done, self.per_epoch)
        size = self.config.batch
        order = torch.randperm(
            len(self.run.train), generator=stream(self.config.seed, _ORDER, epoch)
        )
        for quantizer in self.net.quantizers():
            quantizer.set_progress(epoch, self.config.epochs)
        self.net.train()
        for step in range(first, self.per_epoch):
            if self.done == last:
                return False
            loss = self.step(order[step * size : (step + 1) * size], epoch, step)
            bar.update(task, completed=self.done, description=f"epoch {epoch + 1} loss {loss:.3f}")
            if self.run.save_every and self.done % self.run.save_every == 0:
                self.save_state()
        return True

    def epoch_report(self, seconds: float) -> dict:
        """One line of the log; resets the epoch's sums."""
        number = self.done // self.per_epoch
        report = {
            "epoch": number,
            "loss": self.loss_sum / self.per_epoch,
            "train_top1": 100.0 * self.right / (self.per_epoch * self.config.batch),
            "lr": self.optimizer.param_groups[0]["lr"],
            "density": self.net.density(),
            "seconds": round(seconds, 1),
        }
        if number % self.config.evaluate_every == 0 or number == self.config.epochs:
            report["test_top1"] = float_top1(self.net, self.run.test)
        self.loss_sum, self.right = 0.0, 0
        return report


def train(run: Run) -> dict:
    """Train to the end (or to `stop_after`); writes log, state and weights; returns the report."""
    trainer = Trainer(run)
    config = run.training
    total = trainer.per_epoch * config.epochs
    last = total if run.stop_after is None else min(total, run.stop_after)
    run.out.mkdir(parents=True, exist_ok=True)
    report: dict = {}
    with _progress(run.console) as bar:
        task = bar.add_task("training", total=total, completed=trainer.done)
        while trainer.done < last:
            began = time.perf_counter()
            if not trainer.epoch(last, bar, task):
                trainer.save_state()
                break
            report = trainer.epoch_report(time.perf_counter() - began)
            trainer.save_state()
            with run.file("log.jsonl").open("w" if report["epoch"] == 1 else "a") as log:
                log.write(json.dumps(report) + "\n")
            run.console.print(_line(report))
    if trainer.done == total and report:
        progress = {"epochs": config.epochs, **report}
        save_checkpoint(
            run.file("safetensors"), trainer.net, progress=progress, training=asdict(config)
        )
    return {
        **report,
        "steps": trainer.done,
        "seed": config.seed,
        "densities": trainer.net.densities(),
    }


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _line(report: dict) -> str:
    test = f", test {report['test_top1']:.2f} %" if "test_top1" in report else ""
    return (
        f"epoch {report['epoch']}: loss {report['loss']:.4f}, train {report['train_top1']:.2f} %"
        f"{test}, density {report['density']:.3f}, {report['seconds']:.0f} s"
    )
