"""Classify images on a device and hold every output against the golden machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from plum_host.bundle import Bundle
from plum_host.images import load_images
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from plum_hw import console
from plum_hw.errors import ImageError

if TYPE_CHECKING:
    from plum_host.session import RunResult


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Results of a device beside the golden machine's.

    outputs : int32 logits [N, K] or uint8 maps [N, C, H, W]
    labels : uint8 or int [N], or None where they are not known
    mismatches : numbers of the images whose outputs differ from golden
    cycles : cycles of each image as the device counted them, int [N]
    seconds : wall time of the device's part, transfers included
    """

    device: str
    outputs: np.ndarray
    labels: np.ndarray | None
    mismatches: Sequence[int]
    predicted_cycles: int
    cycles: np.ndarray
    seconds: float

    @property
    def equal_to_golden(self) -> bool:
        return not self.mismatches

    @property
    def cycles_as_predicted(self) -> bool:
        return bool((self.cycles == self.predicted_cycles).all())

    @property
    def top1(self) -> float | None:
        """Share of images classified as labelled, in percent."""
        if self.labels is None or self.outputs.ndim != 2:
            return None
        return 100 * float((self.outputs.argmax(axis=1) == self.labels).mean())

    def as_dict(self) -> dict[str, Any]:
        counts = sorted({int(value) for value in self.cycles})
        return {
            "device": self.device,
            "images": len(self.outputs),
            "top1": self.top1,
            "equal_to_golden": self.equal_to_golden,
            "mismatches": list(self.mismatches),
            "predicted_cycles": self.predicted_cycles,
            "simulated_cycles": counts[0] if len(counts) == 1 else counts,
            "seconds": round(self.seconds, 3),
        }


def progress_bar() -> Progress:
    """The bar that every long command shows, on stderr."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console.err,
        transient=True,
    )


def load_labelled(
    images_file: Path, labels_file: Path | None, limit: int | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images and labels of files, the first `limit` of them.

    Raises
    ------
    PlumHostError : a file that cannot be read
    ImageError : not one label for each image
    """
    images, labels = load_images(images_file, labels_file)
    if labels is not None and len(labels) != len(images):
        raise ImageError(f"{len(images)} images but {len(labels)} labels; give one label per image")
    return images[:limit], None if labels is None else labels[:limit]


def run_images(
    bundle: Bundle, images: np.ndarray, labels: np.ndarray | None, *, device: str
) -> Inference:
    """Run images, uint8 [N, C, H, W], on `device` and on the golden machine.

    Raises
    ------
    PlumHostError : a device that cannot be used, or images of another shape or type
    """
    with progress_bar() as bar:
        measured = _run(bundle, images, device, bar)
        golden = measured if device == "golden" else _run(bundle, images, "golden", bar)
    different = (measured.outputs != golden.outputs).reshape(len(images), -1).any(axis=1)
    return Inference(
        device=device,
        outputs=measured.outputs,
        labels=labels,
        mismatches=np.flatnonzero(different).tolist(),
        predicted_cycles=bundle.manifest["predicted_cycles"],
        cycles=np.asarray(measured.cycles),
        seconds=measured.seconds,
    )


def _run(bundle: Bundle, images: np.ndarray, device: str, bar: Progress) -> RunResult:
    # Transports are looked up, and pyserial imported, only by commands that use a device.
    from plum_host.session import Session

    task = bar.add_task(f"{device}: starting", total=len(images))
    with Session.open(device, config=bundle.manifest["config"]) as session:
        bar.update(task, description=f"{device}: loading")
        session.load(bundle)
        bar.update(task, description=f"{device}: images")
        return session.run(
            images, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )


def print_result(result: Inference) -> None:
    """A few lines for people."""
    lines = dataclasses.replace(result).as_dict()
    console.out.print(f"{lines['images']} images on {result.device} in {result.seconds:.1f} s")
    if result.top1 is not None:
        console.out.print(f"top-1 accuracy         {result.top1:.2f} %")
    golden = "yes, every output" if result.equal_to_golden else f"NO: images {result.mismatches}"
    console.out.print(f"equal to golden        {golden}")
    console.out.print(
        f"cycles an image        {lines['simulated_cycles']:,} counted, "
        f"{result.predicted_cycles:,} predicted"
        if isinstance(lines["simulated_cycles"], int)
        else f"cycles an image        {lines['simulated_cycles']} counted, "
        f"{result.predicted_cycles:,} predicted"
    )
