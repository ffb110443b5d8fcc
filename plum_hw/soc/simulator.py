"""The simulated board: gateware with controller in Verilator, flash and serial line around it."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from plum_hw.config import ArrayConfig
from plum_hw.controller import ControllerConfig
from plum_hw.errors import BuildError, PlumError
from plum_hw.virtual.build import Progress, build_simulation

_HARNESS = Path(__file__).with_name("harness.cpp")
_TOP = "soc"
_STOP_SECONDS = 10.0
PROMPT = "plum> "
#: How long a line may stay out; a loaded machine simulates slowly.
_ANSWER_SECONDS = 400.0

#: Quick to simulate: a byte on the line takes 160 cycles, and slots are near the flash's begin.
SIMULATED = ControllerConfig(
    clock_hz=100_000_000,
    baud=6_250_000,
    flash_base=0x1_0000,
    slot_bytes=0x40_0000,
)


def emit_soc_verilog(config: ArrayConfig, controller: ControllerConfig) -> str:
    """Verilog of the chip without its ROM, which the simulation has: the same from run to run."""
    from plum_hw.gateware.emit import to_verilog
    from plum_hw.gateware.soc.soc import SocCore

    core = SocCore(config, controller)
    ports = {
        "rom_address": core.rom.address,
        "rom_data": core.rom.data,
        "rx": core.rx,
        "tx": core.tx,
        "flash_clk": core.flash.clk,
        "flash_cs_n": core.flash.cs_n,
        "flash_copi": core.flash.copi,
        "flash_cipo": core.flash.cipo,
        "leds": core.leds,
        "buttons": core.buttons,
        "busy": core.busy,
        "error": core.error,
    }
    return to_verilog(
        core,
        _TOP,
        ports={name: (signal, None) for name, signal in ports.items()},
        strip_internal_attrs=True,
    )


def build_soc(
    config: ArrayConfig,
    controller: ControllerConfig = SIMULATED,
    *,
    progress: Progress | None = None,
) -> Path:
    """The program that simulates a board; made on first use, the same for all firmware."""
    return build_simulation(
        f"{config.name} with its controller",
        key=f"{config.digest} {controller}",
        emit=lambda: emit_soc_verilog(config, controller),
        top=_TOP,
        harness=_HARNESS,
        progress=progress,
    )


@dataclass(frozen=True)
class ArrayRun:
    """A run of the array as the simulation saw it."""

    end: int  # clock cycle
    cycles: int  # that it was busy
    fetches: int  # instructions that the processor fetched meanwhile, about


@dataclass
class Events:
    """What a simulation reported beside the serial line."""

    leds: list[tuple[int, int]] = field(default_factory=list)  # (value, clock cycle)
    runs: list[ArrayRun] = field(default_factory=list)
    trapped: int | None = None  # clock cycle
    cycles: int | None = None  # of the whole simulation; known after `close`
    seconds: float | None = None


class SimulatedSoc:
    """A board that is being simulated, as a process of its own that ends with this one.

    Parameters
    ----------
    config, controller : what is simulated
    firmware : of the ROM
    flash : what the flash holds from byte 0 on; `flash` afterwards, where firmware wrote it
    cycles : that are simulated at most; 0: no limit
    progress : called with a line for each step of the first build

    Raises
    ------
    PlumError : a tool is missing, or the build failed
    """

    def __init__(
        self,
        config: ArrayConfig,
        firmware: bytes,
        flash: bytes,
        *,
        controller: ControllerConfig = SIMULATED,
        cycles: int = 0,
        progress: Progress | None = None,
    ) -> None:
        if len(firmware) > controller.rom_bytes:
            raise BuildError(
                f"the firmware has {len(firmware):,} bytes and the ROM {controller.rom_bytes:,}"
            )
        program = build_soc(config, controller, progress=progress)
        self.events = Events()
        self._folder = tempfile.TemporaryDirectory(prefix="plum-soc-")
        folder = Path(self._folder.name)
        self._flash = folder / "flash.bin"
        (folder / "rom.bin").write_bytes(firmware)
        self._flash.write_bytes(flash)
        self._reports = (folder / "events").open("w+")
        self._process = subprocess.Popen(
            [
                str(program),
                str(os.getpid()),
                str(folder / "rom.bin"),
                str(self._flash),
                str(controller.divisor),
                str(cycles),
                "save",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._reports,
        )
        self._unread = b""
        #: All that came over the serial line.
        self.transcript = ""

    def send(self, data: bytes) -> None:
        """Send bytes to the chip's serial line."""
        self._write(data.replace(b"\xff", b"\xff\xff"))

    def press(self, buttons: int) -> None:
        """Buttons that are held from now on, a bit each."""
        self._write(bytes([0xFF, buttons & 0x7F]))

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PlumError("the simulated board has ended") from None

    def lines(self, timeout: float = _ANSWER_SECONDS) -> list[str]:
        """Lines from the serial line up to the next prompt.

        Raises
        ------
        PlumError : no prompt came for so many seconds, or the simulation ended
        """
        found = []
        while (line := self.line(timeout)) is not None:
            found.append(line)
        return found

    def line(self, timeout: float = _ANSWER_SECONDS) -> str | None:
        """The next line, or None where the prompt stands instead."""
        deadline = time.monotonic() + timeout
        while True:
            if b"\n" in self._unread:
                text, _, self._unread = self._unread.partition(b"\n")
                return text.decode("ascii", "replace").rstrip("\r")
            if self._unread == PROMPT.encode():
                self._unread = b""
                return None
            self._receive(deadline)

    def _receive(self, deadline: float) -> None:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise PlumError(
                    f"the simulated board did not answer in time; it last said {self._tail()}"
                )
        data = os.read(self._process.stdout.fileno(), 65536)
        if not data:
            raise PlumError(f"the simulated board ended; it last said {self._tail()}")
        self._unread += data
        self.transcript += data.decode("ascii", "replace")

    def _tail(self) -> str:
        return repr(self.transcript[-200:])

    def command(self, text: str, timeout: float = _ANSWER_SECONDS) -> list[str]:
        """Enter a command at the prompt; the lines of its answer."""
        self.send(text.encode() + b"\r")
        echoed, *answer = self.lines(timeout)
        assert echoed == text, f"the monitor read {echoed!r} and not {text!r}"
        return answer

    @property
    def flash(self) -> bytes:
        """What the flash holds; only after `close`."""
        return self._saved

    def close(self) -> None:
        """End the simulation. It may be called again."""
        if self._reports.closed:
            return
        self._process.terminate()
        try:
            self._process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._reports.seek(0)
        self._read_events(self._reports.read())
        self._reports.close()
        self._saved = self._flash.read_bytes()
        self._folder.cleanup()

    def _read_events(self, text: str) -> None:
        for line in text.splitlines():
            kind, *numbers = line.split()
            if kind == "leds":
                self.events.leds.append((int(numbers[0]), int(numbers[1])))
            elif kind == "run":
                self.events.runs.append(ArrayRun(*map(int, numbers)))
            elif kind == "trap":
                self.events.trapped = int(numbers[0])
            elif match := re.fullmatch(r"cycles (\d+) seconds ([\d.]+)", line):
                self.events.cycles = int(match[1])
                self.events.seconds = float(match[2])

    def __enter__(self) -> SimulatedSoc:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
