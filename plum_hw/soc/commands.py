"""`plum flash-image` and `plum simulate-soc`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from plum_host.bundle import Bundle
from plum_hw import console
from plum_hw.compiler import compile_network
from plum_hw.config import ArrayConfig
from plum_hw.controller import ControllerConfig
from plum_hw.demo import IMAGES, NETWORK, shipped
from plum_hw.errors import ConfigError
from plum_hw.inference import load_labelled
from plum_hw.ir import load_network
from plum_hw.presets import preset
from plum_hw.registers import FLASH
from plum_hw.soc.boot import LINE_SECONDS, boot, print_summary
from plum_hw.soc.firmware import App, Firmware, build_firmware
from plum_hw.soc.flash_image import (
    FlashSection,
    images_section,
    network_section,
    slot,
    whole_flash,
)
from plum_hw.soc.simulator import PROMPT, SIMULATED, SimulatedSoc

#: That is simulated unless another is named: the quickest.
ARRAY = "single"


def golden_outputs(
    bundle: Bundle, images: npt.NDArray[np.uint8], activity: console.Activity
) -> npt.NDArray[Any]:
    """What the golden machine makes of images."""
    from plum_host.session import Session

    activity.step("golden: images", total=len(images))
    with Session.open("golden", bundle.manifest["config"]) as session:
        session.load(bundle)
        return session.run(images, progress=activity.done).outputs


def sections(
    bundle: Bundle,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer] | None,
    activity: console.Activity,
) -> list[FlashSection]:
    """The sections of a slot: a network, images, and the checksums of what golden makes of them."""
    bundle.check_images(images)
    outputs = golden_outputs(bundle, images, activity)
    return [network_section(bundle), images_section("images", images, labels, outputs)]


def _number(name: str, low: int, high: int) -> Any:
    """Parser of a number in decimal or, with 0x, hexadecimal."""

    def parse(text: str | int) -> int:
        # Defaults come here too.
        try:
            value = int(str(text), 0)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ConfigError(f"--{name} is {text!r}; it must be a number from {low} to {high}")
        return value

    return parse


def flash_image_command(
    bundle: Annotated[Path, typer.Argument(help="Compiled bundle (.plum).", metavar="BUNDLE")],
    images: Annotated[
        Path | None, typer.Option(help="Images to classify at boot: .npz, .npy or idx.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labels, where the image file has none.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(parser=console.positive, metavar="N", help="Only the first N images."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write.", show_default="BUNDLE's name.flash"),
    ] = None,
    which: Annotated[
        str,
        typer.Option(
            "--slot", help="0 or 1: that slot alone, for an update; both: what a new flash gets."
        ),
    ] = "both",
    sequence: Annotated[
        int,
        typer.Option(
            parser=_number("sequence", 0, (1 << 32) - 1),
            metavar="N",
            help="Of two good slots the one with the higher number is booted.",
        ),
    ] = 1,
    flash_base: Annotated[
        int,
        typer.Option(
            parser=_number("flash-base", 0, 1 << 24),
            metavar="BYTE",
            help="Where the slots begin in the flash.",
        ),
    ] = ControllerConfig.flash_base,
    slot_bytes: Annotated[
        int,
        typer.Option(
            parser=_number("slot-bytes", 1 << 16, 1 << 23), metavar="BYTES", help="Size of a slot."
        ),
    ] = ControllerConfig.slot_bytes,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Make a flash image for firmware: network, images, checksums; one slot or both.

    With `--slot both` the file is for byte `--flash-base` of the flash and has the same in both
    slots; with 0 or 1 it is that slot alone, for the monitor's `update` or a programmer.
    """
    if images is None and (labels is not None or limit is not None):
        raise ConfigError("--labels and --limit are about images; name them with --images")
    if which not in ("0", "1", "both"):
        raise ConfigError(f"--slot is {which!r}; it must be 0, 1 or both")
    controller = ControllerConfig(flash_base=flash_base, slot_bytes=slot_bytes)
    loaded = Bundle.load(bundle)
    with console.Activity() as activity:
        if images is None:
            parts = [network_section(loaded)]
        else:
            pictures, classes = load_labelled(images, labels, limit)
            parts = sections(loaded, pictures, classes, activity)
    data = slot(parts, sequence=sequence)
    both = [data, data] if which == "both" else [data, None]
    # What does not fit a slot is an error in either case.
    whole = whole_flash(both, controller, from_byte=flash_base)
    content = whole if which == "both" else data
    place = flash_base + (slot_bytes if which == "1" else 0)
    target = output or bundle.with_suffix(".flash")
    target.write_bytes(content)
    report = {
        "file": str(target),
        "bytes": len(content),
        "flash_byte": place,
        "slot": which,
        "slot_used_bytes": len(data),
        "sequence": sequence,
        "array": loaded.manifest["config"]["name"],
        "sections": [
            {"kind": part.kind.name.lower(), "name": part.name, "bytes": len(part.data)}
            for part in parts
        ],
    }
    if as_json:
        console.print_json(report)
        return
    for part in parts:
        console.say(f"{part.kind.name.lower():<8} {part.name:<20} {len(part.data):>10,} bytes")
    console.say(
        f"Wrote {target} ({len(content):,} bytes), for byte {place:#x} of the flash "
        f"({'both slots' if which == 'both' else f'slot {which}'})."
    )


def simulate_soc_command(
    bundle: Annotated[
        Path | None,
        typer.Option(help="Compiled bundle.", show_default="the shipped network for --array"),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Images.", show_default="the shipped test images")
    ] = None,
    array: Annotated[
        str | None,
        typer.Option(
            help="Array preset, where no bundle is given.", metavar="PRESET", show_default=ARRAY
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(parser=console.positive, metavar="N", help="Number of images.")
    ] = 10,
    flash: Annotated[
        Path | None,
        typer.Option(
            help="What the flash holds from byte 0x10000 on, in place of images: a file of "
            "`plum flash-image`."
        ),
    ] = None,
    app_name: Annotated[App, typer.Option("--app", help="Firmware.")] = App.STANDALONE,
    monitor: Annotated[
        bool, typer.Option("--monitor", help="Then talk to the monitor; end with Ctrl-D.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Boot firmware on the simulated board: processor, array, flash, serial line.

    The gateware, with the controller of `plum build --soc` beside the array, runs in Verilator and
    boots the firmware's ROM image; a model of an SPI flash holds the network and the images. What
    is printed is what comes over the serial line.
    """
    if bundle is not None and array is not None:
        raise ConfigError("--bundle is for one array already; leave out --array")
    if flash is not None and images is not None:
        raise ConfigError("--flash holds the images; leave out --images")
    firmware = build_firmware(app_name)
    with console.Activity() as activity:
        if bundle is None:
            activity.step("compiling the network")
            loaded = compile_network(load_network(shipped(NETWORK)), preset(array or ARRAY))
        else:
            loaded = Bundle.load(bundle)
        config = ArrayConfig.from_dict(loaded.manifest["config"])
        if flash is None:
            pictures, classes = load_labelled(images or shipped(IMAGES), None, limit)
            data = slot(sections(loaded, pictures, classes, activity))
            content, total = whole_flash([data], SIMULATED), len(pictures)
        else:
            content, total = _flash_content(flash), limit
        if monitor:
            activity.end()
            _talk(config, firmware, content)
            return
        report = boot(
            config,
            content,
            firmware,
            total=total,
            activity=activity,
            show=None if as_json or console.err.is_terminal else console.say,
        )
    predicted = loaded.manifest["predicted_cycles"]
    if as_json:
        console.print_json(report.as_dict(firmware, config, predicted))
    else:
        if console.err.is_terminal:
            for line in report.text:
                console.say(line)
        print_summary(report, firmware, config, predicted)
    if app_name is App.STANDALONE and not report.good(predicted):
        raise typer.Exit(1)


def _flash_content(path: Path) -> bytes:
    """The flash from byte 0 on, with a file where the slots begin."""
    content = b"\xff" * SIMULATED.flash_base + path.read_bytes()
    if len(content) > FLASH.bytes:
        raise ConfigError(
            f"{path} has {len(content) - SIMULATED.flash_base:,} bytes; behind byte "
            f"{SIMULATED.flash_base:#x} the flash has {FLASH.bytes - SIMULATED.flash_base:,}"
        )
    return content


def _talk(config: ArrayConfig, firmware: Firmware, flash: bytes) -> None:
    """The terminal is the serial line's other end."""
    with SimulatedSoc(config, firmware.image, flash, progress=console.say) as board:
        for line in board.lines(LINE_SECONDS):
            console.say(line)
        while True:
            try:
                text = input(PROMPT).strip()
            except EOFError:
                return
            if text:
                for line in board.command(text, LINE_SECONDS):
                    console.say(line)
