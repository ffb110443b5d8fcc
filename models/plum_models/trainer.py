"""The training loop.

Everything random is a function of (seed, epoch, step, process) alone, so a run that was stopped and
resumed ends in the same bits as one that was not (same machine, same number of threads and
processes).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from plum_models.checkpoint import Checkpoint, save_checkpoint
from plum_models.config import TrainConfig
from plum_models.data import Images, MemoryAugmenter, spread, stream
from plum_models.errors import ModelError
from plum_models.evaluate import float_top1
from plum_models.networks import NetworkConfig, PlumNet
from plum_models.parallel import Processes
from plum_models.schedule import learning_rate, loss_of, make_optimizer

_ORDER, _AUGMENT, _INIT = 1, 2, 3  # keys of the random streams
_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(kw_only=True)
class Run:
    """One training: what, on what, from where and where to.

    *Parameters*: ``teacher`` to distill from; ``start_from``: a full-precision net of the same
    shape; ``resume``: a state to go on from; ``stop_after``: total steps to stop at;
    ``save_every``: steps between states, besides the one after each epoch (0: none);
    ``processes``: this one and its fellows; ``writer``: of TensorBoard, or None.
    """

    network: NetworkConfig
    training: TrainConfig
    train: Images
    test: Images
    out: Path
    teacher: PlumNet | None = None
    start_from: PlumNet | None = None
    resume: Checkpoint | None = None
    stop_after: int | None = None
    save_every: int = 0
    processes: Processes = field(default_factory=Processes)
    writer: Any = None
    console: Console = field(default_factory=lambda: Console(stderr=True))

    def file(self, suffix: str) -> Path:
        """``OUT/NAME.suffix``."""
        return self.out / f"{self.network.name}.{suffix}"


class Trainer:
    """A network on its way: weights, optimizer and how far it is.

    *Members*: ``net``, ``optimizer``; ``done``, steps taken in all; ``loss_sum`` and ``right``,
    over the present epoch and this process's share.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.config = run, run.training
        self.device = run.processes.device
        torch.set_num_threads(self.config.threads)
        self.share = run.processes.share(self.config.batch)
        self.per_epoch = len(run.train) // self.config.batch
        if self.per_epoch == 0:
            raise ModelError(
                f"{len(run.train)} images are fewer than one batch of {self.config.batch}"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(self.config.seed, _INIT).initial_seed())
            net = PlumNet(run.network)
        if run.start_from is not None:
            net.start_from(run.start_from)
        for act in net.activations():
            act.enabled = self.config.activations_from == 0
        self.net = net.to(self.device, memory_format=torch.channels_last)
        if run.teacher is not None:
            run.teacher.to(self.device, memory_format=torch.channels_last).eval()
        self.optimizer = make_optimizer(net, self.config)
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.config.precision == "float16"
        )
        self.augmenter = run.train.augmenter(
            shift=self.config.shift, flip=self.config.flip, jitter=self.config.jitter
        )
        self.ahead = None if isinstance(self.augmenter, MemoryAugmenter) else ThreadPoolExecutor(1)
        self.done, self.loss_sum, self.right = 0, 0.0, 0
        if run.resume is not None:
            self._resume(run.resume)
        elif self.config.activations_from == 0:
            self._calibrate()
        late = self.config.activations_from > 0
        self.model: nn.Module = run.processes.wrap(self.net, unused=late)

    def _resume(self, state: Checkpoint) -> None:
        if state.network != self.run.network or state.training != asdict(self.config):
            raise ModelError(f"{state.path} was made with another configuration")
        state.restore(self.net, self.optimizer)
        try:
            self.done = int(state.progress["step"])
            if self.run.processes.first:  # the sums are those of all
                self.loss_sum = float(state.progress["loss_sum"])
                self.right = int(state.progress["right"])
            if self.scaler.is_enabled():
                self.scaler.load_state_dict(state.progress["scaler"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{state.path}: no progress to resume from: {error}") from error

    @torch.no_grad()
    def _calibrate(self) -> None:
        """Set the steps of the activations from one batch, the same in every process."""
        picked = spread(len(self.run.train), min(self.config.batch, 256))
        images = self.augmenter.batch(picked, stream(self.config.seed, _INIT))
        with self._autocast():
            self.net.calibrate(self._to_device(images))

    def _autocast(self) -> torch.autocast:
        kind = _TYPES[self.config.precision]
        return torch.autocast(self.device.type, kind, enabled=kind != torch.float32)

    def _to_device(self, images: Tensor) -> Tensor:
        return images.to(self.device, memory_format=torch.channels_last)

    def save_state(self) -> None:
        """Write all that a resumed run needs (the first process does; the sums are of all)."""
        loss_sum, right = self._sums()
        if self.run.processes.first:
            progress: dict[str, Any] = {"step": self.done, "loss_sum": loss_sum, "right": right}
            if self.scaler.is_enabled():
                progress["scaler"] = self.scaler.state_dict()
            save_checkpoint(
                self.run.file("state.safetensors"),
                self.net,
                optimizer=self.optimizer,
                progress=progress,
                training=asdict(self.config),
            )

    def _sums(self) -> tuple[float, int]:
        """Loss and right answers over the present epoch and all processes."""
        loss, right = self.run.processes.total([self.loss_sum, float(self.right)])
        if self.run.processes.count > 1:  # from here on the first process carries them all
            self.loss_sum, self.right = (loss, int(right)) if self.run.processes.first else (0.0, 0)
        return loss, int(right)

    def step(self, images: Tensor, labels: Tensor, where: str) -> float:
        """Train on one batch; returns its loss (of this process's share)."""
        images, labels = self._to_device(images), labels.to(self.device)
        taught = None
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.done, self.per_epoch)
        with self._autocast():
            if self.run.teacher is not None and self.config.distill:
                with torch.no_grad():
                    taught = self.run.teacher(images)
            logits = self.model(images)
        loss = loss_of(self.config, logits, labels, taught)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"loss is {value} at {where}: a learning rate below {self.config.lr} may help"
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.config.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.config.clip_latent:
            with torch.no_grad():
                for _, conv in self.net.convolutions(body=True):
                    conv.weight.clamp_(-self.config.clip_latent, self.config.clip_latent)
        self.done += 1
        self.loss_sum += value / self.run.processes.count
        self.right += int((logits.argmax(1) == labels).sum())
        return value

    def _batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of each step of an epoch from `first` on; one ahead where they take
        time to make.
        """
        seed, processes = self.config.seed, self.run.processes
        size = self.config.small_size if epoch < self.config.small_epochs else 0
        order = torch.randperm(len(self.run.train.labels), generator=stream(seed, _ORDER, epoch))

        def make(step: int) -> tuple[Tensor, Tensor]:
            begin = step * self.config.batch + processes.rank * self.share
            picked = order[begin : begin + self.share]
            key = (seed, _AUGMENT, epoch, step, processes.rank)
            random = stream(*(key if processes.count > 1 else key[:4]))
            images = self.augmenter.batch(picked, random, size)
            return images, self.run.train.labels[picked]

        if self.ahead is None:
            yield from map(make, range(first, self.per_epoch))
            return
        coming: Future[tuple[Tensor, Tensor]] = self.ahead.submit(make, first)
        for step in range(first, self.per_epoch):
            batch = coming.result()
            if step + 1 < self.per_epoch:
                coming = self.ahead.submit(make, step + 1)
            yield batch

    def epoch(self, last: int, bar: Progress, task: TaskID) -> bool:
        """Train to the end of the epoch, or to step `last`; whether its end was reached."""
        epoch, first = divmod(self.done, self.per_epoch)
        for quantizer in self.net.quantizers():
            quantizer.set_progress(epoch, self.config.epochs)
        late = self.config.activations_from
        for act in self.net.activations():
            act.enabled = epoch >= late
        if late and epoch == late and first == 0:
            self._calibrate()
        self.model.train()
        for step, batch in enumerate(self._batches(epoch, first), start=first):
            if self.done == last:
                return False
            loss = self.step(*batch, f"epoch {epoch + 1}, step {step + 1}")
            bar.update(task, completed=self.done, description=f"epoch {epoch + 1} loss {loss:.3f}")
            if self.run.writer is not None and self.done % 50 == 0:
                self.run.writer.add_scalar("loss/step", loss, self.done)
            if self.run.save_every and self.done % self.run.save_every == 0:
                self.save_state()
        return True

    def epoch_report(self, seconds: float) -> dict[str, Any]:
        """One line of the log; resets the epoch's sums."""
        number = self.done // self.per_epoch
        loss_sum, right = self._sums()
        report: dict[str, Any] = {
            "epoch": number,
            "loss": loss_sum / self.per_epoch,
            "train_top1": 100.0 * right / (self.per_epoch * self.share * self.run.processes.count),
            "lr": self.optimizer.param_groups[0]["lr"],
            "density": self.net.density(),
            "densities": {k: round(v, 4) for k, v in self.net.densities().items()},
            "seconds": round(seconds, 1),
        }
        if number % self.config.evaluate_every == 0 or number == self.config.epochs:
            report["test_top1"] = float_top1(self.net, self.run.test)
        self.loss_sum, self.right = 0.0, 0
        if self.run.writer is not None:
            for key in ("loss", "train_top1", "test_top1", "density", "lr"):
                if key in report:
                    self.run.writer.add_scalar(f"epoch/{key}", report[key], number)
            for layer, share in report["densities"].items():
                self.run.writer.add_scalar(f"density/{layer}", share, number)
        return report


def train(run: Run) -> dict[str, Any]:
    """Train to the end (or to `stop_after`); writes log, state and weights; returns the report."""
    trainer, first = Trainer(run), run.processes.first
    config = run.training
    total = trainer.per_epoch * config.epochs
    last = total if run.stop_after is None else min(total, run.stop_after)
    run.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {}
    if first and trainer.done == 0:
        run.console.print(_early(trainer.net))
    with _progress(run.console, shown=first) as bar:
        task = bar.add_task("training", total=total, completed=trainer.done)
        while trainer.done < last:
            began = time.perf_counter()
            if not trainer.epoch(last, bar, task):
                trainer.save_state()
                break
            report = trainer.epoch_report(time.perf_counter() - began)
            trainer.save_state()
            if first:
                with run.file("log.jsonl").open("w" if report["epoch"] == 1 else "a") as log:
                    log.write(json.dumps(report) + "\n")
                run.console.print(_line(report))
    if trainer.done == total and report and first:
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


def _progress(console: Console, *, shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        console=console,
        disable=not (console.is_terminal and shown),
    )


def _early(net: PlumNet) -> str:
    """What the weights look like before the first step: a threshold that is far off shows here."""
    shares = net.densities()
    layers = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    return f"effectual weights at the start: {net.density():.3f} ({layers})"


def _line(report: dict[str, Any]) -> str:
    test = f", test {report['test_top1']:.2f} %" if "test_top1" in report else ""
    shares = report["densities"].values()
    spread = f" ({min(shares):.2f} to {max(shares):.2f} by layer)" if shares else ""
    return (
        f"epoch {report['epoch']}: loss {report['loss']:.4f}, train {report['train_top1']:.2f} %"
        f"{test}, density {report['density']:.3f}{spread}, {report['seconds']:.0f} s"
    )
