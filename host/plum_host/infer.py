"""`python -m plum_host.infer`: classify the images of a file on a device.

The same script for the golden machine, the virtual board and a real one.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from plum_host.bundle import Bundle
from plum_host.errors import PlumHostError
from plum_host.images import load_images
from plum_host.session import RunResult, Session

_NAME = "plum_host.infer"
_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def infer(
    bundle: Annotated[Path, typer.Argument(help="Compiled network (.plum).")],
    images: Annotated[Path, typer.Option(help="Images: .npz, .npy, or idx, also .gz; uint8.")],
    device: Annotated[
        str, typer.Option(help="golden, virtual, a serial port, or socket://HOST:PORT.")
    ] = "virtual",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N images.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels: .npz, .npy, or idx.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Classify images on a device; report accuracy, cycles and time."""
    loaded = Bundle.load(bundle)
    pixels, truth = load_images(images, labels)
    pixels, truth = pixels[:limit], None if truth is None else truth[:limit]
    # Wrong images are an error before a device is built or opened.
    packed = loaded.pack(pixels)
    result = _run(loaded, packed, device)
    result = replace(result, outputs=loaded.unpack(result.outputs, len(pixels)))
    report = _report(loaded, result, truth)
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _print(report, device)


def _run(bundle: Bundle, pixels: np.ndarray[Any, Any], device: str) -> RunResult:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=_err,
        transient=True,
        disable=not _err.is_terminal,
    ) as bar:
        task = bar.add_task(f"{device}: opening", total=len(pixels))

        def describe(step: str) -> None:
            bar.update(task, description=f"{device}: {step}")

        # The first use of a virtual board compiles it, which takes its time.
        options: dict[str, Any] = {"progress": describe} if device == "virtual" else {}
        with Session.open(device, bundle.manifest["config"], **options) as session:
            describe("loading")
            session.load(bundle)
            describe("images")
            return session.run(pixels, lambda done: bar.update(task, completed=done))


def _report(
    bundle: Bundle, result: RunResult, truth: np.ndarray[Any, Any] | None
) -> dict[str, Any]:
    """Keys that scripts rely on."""
    top1 = None
    if truth is not None and result.outputs.ndim == 2 and len(truth):
        top1 = 100 * float((result.outputs.argmax(axis=1) == truth).mean())
    counts = sorted({int(value) for value in result.cycles})
    return {
        "images": len(result.outputs),
        "top1": top1,
        "seconds": round(result.seconds, 3),
        "batch": bundle.batch,
        "predicted_cycles": bundle.manifest["predicted_cycles"],
        "simulated_cycles": counts[0] if len(counts) == 1 else counts,
        "outputs": hashlib.sha256(np.ascontiguousarray(result.outputs).tobytes()).hexdigest(),
    }


def _print(report: dict[str, Any], device: str) -> None:
    _out.print(f"{report['images']} images on {device} in {report['seconds']:.1f} s")
    if report["top1"] is not None:
        _out.print(f"top-1 accuracy    {report['top1']:.2f} %")
    of = "an image" if report["batch"] == 1 else f"a batch of {report['batch']}"
    _out.print(f"predicted cycles  {report['predicted_cycles']} {of}")
    _out.print(f"measured cycles   {report['simulated_cycles']} {of}")


def main() -> None:
    """Errors that a user can mend are one line and exit code 2."""
    try:
        code = app(prog_name=_NAME, standalone_mode=False)
    except PlumHostError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        # Errors of usage. Typer has copies of click's classes, in places that are not public.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        _fail(f"{message().strip().rstrip('.')}; see {_NAME} --help")
    if code == 130:
        _err.print(f"{_NAME}: interrupted")
    raise SystemExit(code if isinstance(code, int) else 0)


def _fail(message: str) -> NoReturn:
    _err.print(f"{_NAME}: error: {' '.join(message.split())}", markup=False, soft_wrap=True)
    raise SystemExit(2) from None


if __name__ == "__main__":
    main()
