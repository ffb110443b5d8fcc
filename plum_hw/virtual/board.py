"""A virtual board: the accelerator's gateware, simulated behind a socket."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from plum_hw.boards.board import Board
from plum_hw.config import ArrayConfig
from plum_hw.errors import BuildError
from plum_hw.virtual.build import Progress, build_board

_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class MiiCounts:
    """What passed over the MII of a board; nibbles of frames with preamble, check and gap behind.

    to_frames, to_nibbles : to the device
    from_frames, from_nibbles : from the device
    payload : bytes in the datagrams to the device
    bad : frames of the device that no network would have taken
    """

    to_frames: int
    to_nibbles: int
    from_frames: int
    from_nibbles: int
    payload: int
    bad: int


class VirtualBoard:
    """The whole accelerator in Verilator, as a process of its own that ends with this one.

    What a serial port is for a real board, `url` is for this one; one client at a time. Nothing is
    simulated while no byte moves and no run is in progress.

    Parameters
    ----------
    config : the array
    pins : the board at whose pins everything is simulated, bit by bit; much slower. One with
        `ethernet` is reached by frames on its MII: who opens `url` or `udp_url` is its neighbour
    port : TCP port on the loopback interface; 0 lets the system choose
    trace : file for waves (FST); such a board is slower
    progress : called with a line for each step of the first build

    Raises
    ------
    PlumError : a tool is missing, the build failed, or the port is taken
    """

    def __init__(
        self,
        config: ArrayConfig,
        *,
        pins: Board | None = None,
        port: int = 0,
        trace: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.config = config
        program = build_board(config, pins=pins, trace=trace is not None, progress=progress)
        # Longer than a byte is on its way to where it is served, or an answer's on its way out.
        quiet_cycles = 2048
        if pins is not None:
            # On a line a byte is longer on its way, and nobody sees that a request is served.
            quiet_cycles += 8 * config.packet_bytes + 40 * round(pins.clock_hz / pins.baud)
        network = None if pins is None else pins.ethernet
        address = "0:0" if network is None else f"{network.ip_number}:{network.port}"
        arguments = [str(os.getpid()), str(port), str(quiet_cycles), address]
        if trace is not None:
            arguments.append(str(trace))
        self._process = subprocess.Popen(
            [str(program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._simulated: tuple[int, float] | None = None
        #: Of a board with `ethernet`, once it is closed.
        self.mii: MiiCounts | None = None
        assert self._process.stdout is not None
        said = re.fullmatch(r"port (\d+)", self._process.stdout.readline().strip())
        if said is None:
            _, errors = self._process.communicate()
            reason = errors.strip() or f"exit code {self._process.returncode}"
            raise BuildError(f"the virtual board did not start on port {port}: {reason}")
        self.port = int(said[1])

    @property
    def pid(self) -> int:
        """The board's process."""
        return self._process.pid

    @property
    def url(self) -> str:
        """What pyserial, and so `plum_host`, opens."""
        return f"socket://127.0.0.1:{self.port}"

    @property
    def udp_url(self) -> str:
        """The same by datagrams, while nobody is connected to `url`."""
        return f"udp://127.0.0.1:{self.port}"

    @property
    def cycles_per_second(self) -> float | None:
        """Cycles a second of processor time while it had something to do; known after `close`."""
        if self._simulated is None or not self._simulated[1]:
            return None
        cycles, seconds = self._simulated
        return cycles / seconds

    def power_cycle(self) -> None:
        """Take the device's power away for a moment: it begins anew, its memories are empty and
        what was on the line is lost; the connection to the host stays, as a USB bridge's would.
        """
        self._process.send_signal(signal.SIGUSR1)

    def wait(self) -> None:
        """Until the board's process has ended."""
        self._process.wait()

    def close(self) -> None:
        """End the board. It may be called again."""
        assert self._process.stdout is not None
        if self._process.stdout.closed:
            return
        self._process.terminate()
        try:
            output, _ = self._process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _ = self._process.communicate()
        if match := re.search(r"cycles (\d+) seconds ([\d.]+)", output):
            self._simulated = int(match[1]), float(match[2])
        if match := re.search(r"mii ([\d ]+)", output):
            self.mii = MiiCounts(*map(int, match[1].split()))

    def __enter__(self) -> VirtualBoard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
