"""Booting a simulated board, and what came of it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from plum_hw import console
from plum_hw.config import ArrayConfig
from plum_hw.soc.firmware import App, Firmware
from plum_hw.soc.simulator import SIMULATED, SimulatedSoc

#: Longest time without a line from the simulated board.
LINE_SECONDS = 600.0
_IMAGE = re.compile(
    r"image (\d+): class (\d+) (.*?)(?:, label (\d+))?, cycles (\d+)(?: of (\d+))?, "
    r"crc ([0-9a-f]{8})(| as expected| NOT AS EXPECTED)"
)


@dataclass(frozen=True)
class SocImage:
    """One line of the firmware about an image."""

    image: int
    label: int | None
    output: int
    name: str
    cycles: int  # of the array
    total: int | None  # from the first word of the image to the output; None where it is not said
    crc: int
    as_expected: bool | None

    @classmethod
    def parse(cls, line: str) -> SocImage | None:
        """From the line; None where it is about something else."""
        found = _IMAGE.fullmatch(line)
        if found is None:
            return None
        number, output, name, label, cycles, total, crc, said = found.groups()
        return cls(
            image=int(number),
            label=None if label is None else int(label),
            output=int(output),
            name=name.strip(),
            cycles=int(cycles),
            total=None if total is None else int(total),
            crc=int(crc, 16),
            as_expected=None if not said else said == " as expected",
        )


@dataclass(frozen=True)
class BootReport:
    """What a simulated board said and did from reset to its prompt."""

    images: tuple[SocImage, ...]
    boot_cycles: int | None  # from reset to the first image; None where nothing was loaded
    cycles: int  # of the whole simulation
    seconds: float
    errors: tuple[str, ...]
    array_cycles: tuple[int, ...]  # each run, as the simulation saw it from outside
    text: tuple[str, ...]

    def as_dict(self, firmware: Firmware, config: ArrayConfig, predicted: int) -> dict[str, Any]:
        return {
            "array": config.name,
            "firmware": {"app": firmware.app, "text": firmware.text, "bss": firmware.bss},
            "boot_cycles": self.boot_cycles,
            "predicted_cycles": predicted,
            "images": [asdict(image) for image in self.images],
            "errors": list(self.errors),
            "simulated_cycles": self.cycles,
            "seconds": round(self.seconds, 3),
            "good": self.good(predicted),
        }

    def good(self, predicted: int) -> bool:
        """Whether all outputs are golden's, and all cycles those that were predicted."""
        return (
            not self.errors
            and bool(self.images)
            and all(image.as_expected is not False for image in self.images)
            and all(image.cycles == predicted for image in self.images)
        )


def boot(
    config: ArrayConfig,
    flash: bytes,
    firmware: Firmware,
    *,
    total: int,
    activity: console.Activity,
    show: Any = None,
) -> BootReport:
    """Boot a simulated board; `show` is called with each line of its serial port."""
    activity.step("simulated board: starting")
    images: list[SocImage] = []
    lines: list[str] = []
    with SimulatedSoc(
        config,
        firmware.image,
        flash,
        progress=lambda text: activity.step(f"simulated board: {text}"),
    ) as board:
        activity.step("simulated board: images", total=total)
        while (line := board.line(LINE_SECONDS)) is not None:
            lines.append(line)
            if show is not None:
                show(line)
            if (image := SocImage.parse(line)) is not None:
                images.append(image)
                activity.done(len(images))
    found = [re.fullmatch(r"booted after (\d+) cycles", line) for line in lines]
    booted = [int(match[1]) for match in found if match]
    events = board.events
    return BootReport(
        images=tuple(images),
        boot_cycles=booted[0] if booted else None,
        cycles=events.cycles or 0,
        seconds=events.seconds or 0.0,
        errors=tuple(line for line in lines if "error " in line),
        array_cycles=tuple(run.cycles for run in events.runs),
        text=tuple(lines),
    )


def print_summary(
    report: BootReport, firmware: Firmware, config: ArrayConfig, predicted: int
) -> None:
    """What came of a boot, for people."""
    console.say("")
    console.say(
        f"firmware           {firmware.app}: {firmware.text:,} bytes of ROM, {firmware.bss:,} of "
        "RAM and the stack"
    )
    if report.boot_cycles is not None:
        clock = SIMULATED.clock_hz
        console.say(
            f"boot               {report.boot_cycles:,} cycles, "
            f"{1000 * report.boot_cycles / clock:.1f} ms at {clock / 1e6:g} MHz"
        )
    if not report.images and firmware.app is App.STANDALONE:
        why = report.errors[-1].partition("error ")[2] if report.errors else "it has no images"
        console.say(f"classified         nothing; {why}")
    if report.images:
        counted = sorted({image.cycles for image in report.images})
        same = all(image.as_expected for image in report.images)
        console.say(f"equal to golden    {'yes, every output' if same else 'NO'}")
        console.say(
            f"cycles an image    {', '.join(f'{value:,}' for value in counted)} counted, "
            f"{predicted:,} predicted"
        )
        totals = sorted({image.total for image in report.images if image.total is not None})
        if totals:
            console.say(
                f"with the processor {totals[-1]:,} cycles at most, from the image in the flash to "
                "its output"
            )
    console.say(
        f"simulated          {config.name}, {report.cycles:,} cycles in {report.seconds:.1f} s"
    )
