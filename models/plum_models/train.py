"""Training command: `python -m plum_models.train CONFIG.toml --out DIR`, also under `torchrun`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
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
    if training.small_size > min(network.image[1:]):
        raise ModelError(
            f"small_size is {training.small_size}, more than the image's {network.image[1:]}"
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


def in_order(
    recipes: list[tuple[NetworkConfig, TrainConfig]],
) -> list[tuple[NetworkConfig, TrainConfig]]:
    """The same trainings, each behind the one that it learns or starts from."""
    waiting, ordered = list(recipes), []
    names = [network.name for network, _ in recipes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ModelError(f"two configurations have the name {twice[0]!r}: they share their files")
    while waiting:
        left = {network.name for network, _ in waiting}
        ready = [r for r in waiting if not {r[1].teacher, r[1].start} & left]
        if not ready:
            raise ModelError(f"{sorted(left)[0]!r}: its teacher or start waits for itself")
        ordered += ready
        waiting = [r for r in waiting if r not in ready]
    return ordered


def finished(run: Run) -> dict[str, Any] | None:
    """The report of a training that has ended already; None if it has not.

    Raises `ModelError` where the result was made otherwise than this training would.
    """
    path = run.file("safetensors")
    if not path.is_file():
        return None
    found = load_checkpoint(path)
    if found.network != run.network or found.training != asdict(run.training):
        raise ModelError(
            f"{path} was made with another configuration; remove it or choose another --out"
        )
    return {"steps": None, "seed": run.training.seed, **found.progress}


def _writer(folder: Path | None) -> Any:
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ModelError(
            "--tensorboard needs the package tensorboard: pip install 'plum-hw[tensorboard]'"
        ) from None
    return SummaryWriter(str(folder))


def main(
    configs: Annotated[
        list[Path], typer.Argument(help="TOML files with tables network and training")
    ],
    out: Annotated[Path, typer.Option(help="folder of the results")] = Path("runs"),
    data: Annotated[Path | None, typer.Option(help="folder or file of the data set")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE")] = None,
    teacher: Annotated[Path | None, typer.Option(help="checkpoint to distill from")] = None,
    start: Annotated[Path | None, typer.Option(help="checkpoint to start from")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="go on from the states in OUT; leave finished trainings as they are"
        ),
    ] = False,
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
    """Train networks; writes OUT/NAME.safetensors, NAME.state.safetensors and NAME.log.jsonl.

    Of several configurations teachers come first. With `torchrun --nproc-per-node N -m
    plum_models.train` N processes share the work.
    """
    reports = []
    try:
        recipes = in_order([read_config(config, override or []) for config in configs])
        processes = parallel.join(device)
        keep_freed_memory()
        for network, training in recipes:
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
                writer=_writer(
                    tensorboard / network.name if tensorboard and processes.first else None
                ),
            )
            report = finished(run) if resume else None
            if report is None:
                if resume and run.file("state.safetensors").is_file():
                    run.resume = load_checkpoint(run.file("state.safetensors"))
                if len(recipes) > 1 and processes.first:
                    run.console.rule(network.name)
                report = train(run)
            reports.append({"name": network.name, **report})
    except (PlumError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("stopped; --resume goes on from the last state", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        parallel.leave()
    if as_json and processes.first:
        print(json.dumps(reports[0] if len(reports) == 1 else reports))


if __name__ == "__main__":
    typer.run(main)
