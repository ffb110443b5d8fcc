"""Classify images on a device and hold every output against the golden machine."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plum_host.bundle import Bundle
from plum_host.images import load_images
from plum_hw import console
from plum_hw.errors import ImageError
from plum_hw.report.cycles import layers_report

if TYPE_CHECKING:
    from plum_host.session import RunResult, Session


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Results of a device beside the golden machine's.

    outputs : int32 logits [N, K] or uint8 maps [N, C, H, W]
    labels : integers [N], or None where they are not known
    mismatches : numbers of the images whose outputs differ from golden
    cycles : cycles of each image as the device counted them, int [N]
    layers : of the bundle, predicted, and as the device counted the last image's
    seconds : wall time of the device's part, transfers included
    shares : where there were several devices, what each did: device, images, failure
    batch : images that were computed at a time; ``cycles`` are those of a batch
    clock_hz : of the device's array; None where it does not know, or there were several
    """

    device: str
    outputs: np.ndarray
    labels: np.ndarray | None
    mismatches: Sequence[int]
    predicted_cycles: int
    cycles: np.ndarray
    layers: Sequence[dict[str, Any]]
    seconds: float
    shares: Sequence[dict[str, Any]] = ()
    batch: int = 1
    clock_hz: int | None = None

    @property
    def equal_to_golden(self) -> bool:
        return not self.mismatches

    @property
    def cycles_as_predicted(self) -> bool:
        """Of every image, and of every layer of the last."""
        layers = all(
            layer.get("simulated_cycles", layer["cycles"]) == layer["cycles"]
            for layer in self.layers
        )
        return layers and bool((self.cycles == self.predicted_cycles).all())

    @property
    def top1(self) -> float | None:
        """Share of images classified as labelled, in percent."""
        if self.labels is None or self.outputs.ndim != 2:
            return None
        return 100 * float((self.outputs.argmax(axis=1) == self.labels).mean())

    @property
    def simulated_cycles(self) -> int | list[int]:
        """The cycles of an image; all numbers that occurred where they differ."""
        counts = sorted({int(value) for value in self.cycles})
        return counts[0] if len(counts) == 1 else counts

    def as_dict(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "images": len(self.outputs),
            "top1": self.top1,
            "equal_to_golden": self.equal_to_golden,
            "mismatches": list(self.mismatches),
            "batch": self.batch,
            "predicted_cycles": self.predicted_cycles,
            "simulated_cycles": self.simulated_cycles,
            "seconds": round(self.seconds, 3),
            **({"devices": list(self.shares)} if self.shares else {}),
            "layers": list(self.layers),
        }


def load_labelled(
    images_file: Path, labels_file: Path | None, limit: int | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images and labels of files, the first `limit` of them.

    Raises
    ------
    PlumHostError : a file that cannot be read
    ImageError : a file without images
    """
    images, labels = load_images(images_file, labels_file)
    if not len(images):
        raise ImageError(f"{images_file}: holds no images; it must hold one or more")
    return images[:limit], None if labels is None else labels[:limit]


def run_images(
    bundle: Bundle,
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    device: str | Sequence[str],
    fast: bool = False,
) -> Inference:
    """Run images, uint8 [N, C, H, W], on `device`, or on several, and on the golden machine. A
    bundle that was compiled for a batch takes so many at a time. `fast`: on serial ports at the
    fastest line rate that is clean.

    Raises
    ------
    PlumHostError : a device that cannot be used, or images of another shape or type
    """
    # Wrong images are an error before a device is built or opened.
    count, images = len(images), bundle.pack(images)
    devices = [device] if isinstance(device, str) else list(device)
    shares: list[dict[str, Any]] = []
    counted, clock_hz = None, None
    with console.Activity() as activity:
        if len(devices) > 1:
            measured, shares = _run_fleet(bundle, images, devices, fast, activity)
        else:
            measured, counted, clock_hz = _run(bundle, images, devices[0], fast, activity)
        is_golden = devices == ["golden"]
        golden = measured if is_golden else _run(bundle, images, "golden", False, activity)[0]
    outputs = bundle.unpack(measured.outputs, count)
    different = (outputs != bundle.unpack(golden.outputs, count)).reshape(count, -1).any(axis=1)
    return Inference(
        device=", ".join(devices),
        outputs=outputs,
        labels=labels,
        mismatches=np.flatnonzero(different).tolist(),
        predicted_cycles=bundle.manifest["predicted_cycles"],
        cycles=np.asarray(measured.cycles),
        layers=layers_report(bundle, counted),
        seconds=measured.seconds,
        shares=shares,
        batch=bundle.batch,
        clock_hz=clock_hz,
    )


def _run(
    bundle: Bundle, images: np.ndarray, device: str, fast: bool, activity: console.Activity
) -> tuple[RunResult, list[int] | None, int | None]:
    """What the device made of the images, the cycles of each layer if it counts so many, and its
    clock.
    """
    # Transports are looked up, and pyserial imported, only by commands that use a device.
    from plum_host.session import Session

    activity.step(f"{device}: starting")
    config = bundle.manifest["config"]
    with Session.open(device, config, **_options(device, activity)) as session:
        if fast:
            _hasten(device, session, activity)
        activity.step(f"{device}: loading the network")
        session.load(bundle)
        activity.step(f"{device}: images", total=len(images))
        result = session.run(images, progress=activity.done)
        fits = max(bundle.parts) <= config["layer_counters"]
        layers = session.layer_cycles() if fits else None
        return result, layers, session.identify().clock_hz


def _hasten(device: str, session: Session, activity: console.Activity) -> None:
    activity.step(f"{device}: line rates")
    clean = [trial.baud for trial in session.negotiate() if trial.clean]
    activity.step(f"{device}: {clean[-1] / 1e6:g} Mbaud" if clean else f"{device}: rate unchanged")


def _run_fleet(
    bundle: Bundle,
    images: np.ndarray,
    devices: Sequence[str],
    fast: bool,
    activity: console.Activity,
) -> tuple[RunResult, list[dict[str, Any]]]:
    """What several devices made of the images, and what each did."""
    from plum_host.fleet import Fleet
    from plum_host.session import Session

    config = bundle.manifest["config"]
    with contextlib.ExitStack() as opened:
        sessions = []
        for device in devices:
            activity.step(f"{device}: starting")
            session = Session.open(device, config, **_options(device, activity))
            sessions.append(opened.enter_context(session))
            if fast:
                _hasten(device, session, activity)
        fleet = Fleet(sessions)
        activity.step("loading the network")
        fleet.load(bundle)
        activity.step("images", total=len(images))
        result = fleet.run(images, progress=activity.done)
        return result, [asdict(share) for share in fleet.shares]


def _options(device: str, activity: console.Activity) -> dict[str, Any]:
    """A virtual board is compiled when it is first used, which takes a minute."""
    if device != "virtual":
        return {}
    return {"progress": lambda text: activity.step(f"{device}: {text}")}


def print_result(result: Inference) -> None:
    """A few lines for people."""
    count, seconds = len(result.outputs), result.seconds
    speed = f", {count / seconds:.1f} a second" if seconds else ""
    console.say(f"images             {count} on {result.device} in {seconds:.1f} s{speed}")
    for share in result.shares:
        failure = f"; left out: {share['failure']}" if share["failure"] else ""
        console.say(f"  {share['images']:>6} on {share['device']}{failure}")
    if result.top1 is not None:
        console.say(f"top-1 accuracy     {result.top1:.2f} %")
    if result.device != "golden":
        equal = (
            "yes, every output"
            if result.equal_to_golden
            else f"NO: {len(result.mismatches)} images, the first is number {result.mismatches[0]}"
        )
        console.say(f"equal to golden    {equal}")
    counted = result.simulated_cycles
    text = f"{counted:,}" if isinstance(counted, int) else f"DIFFERENT: {counted}"
    if result.clock_hz and isinstance(counted, int):
        text += f" ({1000 * counted / result.clock_hz:.2f} ms at {result.clock_hz / 1e6:g} MHz)"
    of = "cycles an image   " if result.batch == 1 else f"cycles a batch of {result.batch}"
    console.say(f"{of} {text} counted, {result.predicted_cycles:,} predicted")
