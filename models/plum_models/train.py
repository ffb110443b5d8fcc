"""Training command: `python -m plum_models.train CONFIG.toml --out DIR`, also under `torchrun`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from plum_hw.errors import PlumError
from plum_models import parallel
from plum_models.checkpoint import load_checkpoint
from plum_models.config import TrainConfig, read_config
from plum_models.datasets import open_data
from plum_models.errors import ModelError
from plum_models.networks import NetworkConfig, PlumNet
from plum_models.runtime import keep_freed_memory
from plum_models.shipped import SHIPPED
from plum_models.trainer import Run, train


def find_network(name: str, path: Path | None, out: Path, role: str) -> PlumNet | None:
    """The finished training that teaches or is started from: by path, in `out`, or shipped."""
    if path is not None:
        return load_checkpoint(path).build()
    if not name:
        return None
    for folder in (out, SHIPPED):
        if (folder / f"{name}.safetensors").is_file():
            return load_checkpoint(folder / f"{name}.safetensors").build()
    raise ModelError(
        f"{role} {name!r}: no {name}.safetensors in {out} or among the shipped networks; train it "
        f"first (models/configs/{name}.toml) or name a checkpoint with --{role}"
    )


def make_run(
    network: NetworkConfig,
    training: TrainConfig,
    *,
    out: Path,
    data: Path | None = None,
    teacher: Path | None = None,
    start: Path | None = None,
    **options: Any,
) -> Run:
    """All that a training needs, checked against each other before it begins."""
    found = open_data(training.data, data, size=network.image[1])
    if len(found.labels) != network.classes:
        raise ModelError(
            f"{found.title} has {len(found.labels)} classes, the network {network.classes}"
        )
    splits = {}
    for name, count in (("train", training.train_images), ("test", training.test_images)):
        split = found.split(train=name == "train").some(count)
        if split.shape != network.image:
            raise ModelError(
                f"{found.title} has images of {split.shape}, the network takes {network.image}: "
                "set channels and size"
            )
        splits[name] = split
    taught_by = find_network(training.teacher, teacher, out, "teacher")
    if training.distill and taught_by is None:
        raise ModelError(f"distill = {training.distill} needs --teacher CHECKPOINT")
    return Run(
        network=network,
        training=training,
        out=out,
        teacher=taught_by,
        start_from=find_network(training.start, start, out, "start"),
        train=splits["train"],
        test=splits["test"],
        **options,
    )


def _writer(folder: Path | None) -> Any:
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ModelError("--tensorboard needs the package tensorboard (extra `tensorboard`)") from None
    return SummaryWriter(str(folder))


def main(
    config: Annotated[Path, typer.Argument(help="TOML file with [network] and [training]")],
    out: Annotated[Path, typer.Option(help="folder of the results")] = Path("runs"),
    data: Annotated[Path | None, typer.Option(help="folder or file of the data set")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE")] = None,
    teacher: Annotated[Path | None, typer.Option(help="checkpoint to distill from")] = None,
    start: Annotated[Path | None, typer.Option(help="checkpoint to start from")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the state in OUT")] = False,
    save_every: Annotated[
        int, typer.Option(help="steps between states, besides one an epoch", min=0)
    ] = 0,
    stop_after: Annotated[int | None, typer.Option(help="stop after so many steps", min=1)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    tensorboard: Annotated[
        Path | None, typer.Option(help="folder for TensorBoard's curves")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="report as JSON on stdout")] = False,
) -> None:
    """Train a network; writes OUT/NAME.safetensors, NAME.state.safetensors and NAME.log.jsonl.

    Under torchrun all its processes share the work: torchrun --nproc-per-node 2 -m
    plum_models.train CONFIG.toml
    """
    try:
        network, training = read_config(config, override or [])
        processes = parallel.join(device)
        keep_freed_memory()
        run = make_run(
            network,
            training,
            out=out,
            data=data,
            teacher=teacher,
            start=start,
            stop_after=stop_after,
            save_every=save_every,
            processes=processes,
            writer=_writer(tensorboard if processes.first else None),
        )
        if resume:
            run.resume = load_checkpoint(run.file("state.safetensors"))
        report = train(run)
    except (PlumError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("stopped; --resume goes on from the last state", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        parallel.leave()
    if as_json and processes.first:
        print(json.dumps(report))


if __name__ == "__main__":
    typer.run(main)
