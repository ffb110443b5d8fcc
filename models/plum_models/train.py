"""Training command: `python -m plum_models.train CONFIG.toml --out DIR`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

from plum_hw.errors import PlumError
from plum_models.checkpoint import load_checkpoint
from plum_models.config import read_config
from plum_models.data import load_fashion
from plum_models.errors import ModelError
from plum_models.runtime import keep_freed_memory
from plum_models.trainer import Run, train


def main(
    config: Annotated[Path, typer.Argument(help="TOML file with [network] and [training]")],
    out: Annotated[Path, typer.Option(help="folder of the results")] = Path("runs"),
    data: Annotated[Path | None, typer.Option(help="folder of the idx files")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE")] = None,
    teacher: Annotated[Path | None, typer.Option(help="checkpoint to distill from")] = None,
    start: Annotated[Path | None, typer.Option(help="checkpoint to start from")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the state in OUT")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="report as JSON on stdout")] = False,
) -> None:
    """Train a network; writes OUT/NAME.safetensors, NAME.state.safetensors and NAME.log.jsonl."""
    try:
        network, training = read_config(config, override or [])
        if training.distill and teacher is None:
            raise ModelError(f"distill = {training.distill} needs --teacher CHECKPOINT")
        keep_freed_memory()
        run = Run(
            network=network,
            training=training,
            train=load_fashion(data, train=True).first(training.train_images),
            test=load_fashion(data, train=False).first(training.test_images),
            out=out,
            teacher=load_checkpoint(teacher).build() if teacher else None,
            start_from=load_checkpoint(start).build() if start else None,
        )
        if run.teacher is not None:
            run.teacher = run.teacher.to(memory_format=torch.channels_last)
        if resume:
            run.resume = load_checkpoint(run.file("state.safetensors"))
        report = train(run)
    except (PlumError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("stopped; --resume goes on from the last whole epoch", file=sys.stderr)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(report))


if __name__ == "__main__":
    typer.run(main)
