"""Makes the virtual board's program: Verilog by Amaranth, a binary by Verilator, both cached."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import plum_host.protocol
import plum_hw
from plum_hw.boards.board import Board
from plum_hw.config import ArrayConfig
from plum_hw.errors import BuildError
from plum_hw.tools import cache_dir, tool_versions, verilator_env

Progress = Callable[[str], None]

_HARNESS = Path(__file__).with_name("harness.cpp")
_MII = Path(__file__).with_name("mii.h")
_TOP = "accelerator"
_VERILATOR_FLAGS = (
    "--cc --exe --build -j 2 -O3 --flatten --x-assign fast --x-initial fast --no-assert "
    "--prefix Vboard -Mdir obj -o board "
    "-Wno-fatal -Wno-WIDTH -MAKEFLAGS OPT_FAST=-O2 -MAKEFLAGS OPT_GLOBAL=-O2 "
    # This optimization drops drivers of signals that several blocks assign in parts.
    # Ref: https://github.com/verilator/verilator/issues/8377
    "-fno-dfg"
)


def emit_verilog(config: ArrayConfig) -> str:
    """Verilog of the accelerator: the same text from run to run."""
    # Elaboration is slow to import, and a cached board needs none of it.
    from plum_hw.gateware.accelerator import Accelerator
    from plum_hw.gateware.emit import to_verilog

    device = Accelerator(config)
    # Verilator mangles the double underscores of Amaranth's own port names.
    ports = {
        "rx_payload": device.rx.payload,
        "rx_valid": device.rx.valid,
        "rx_ready": device.rx.ready,
        "tx_payload": device.tx.payload,
        "tx_valid": device.tx.valid,
        "tx_ready": device.tx.ready,
        "idle": device.idle,
    }
    return to_verilog(
        device,
        _TOP,
        ports={name: (signal, None) for name, signal in ports.items()},
        strip_internal_attrs=True,
    )


def _emit(config: ArrayConfig, pins: Board | None) -> str:
    if pins is None:
        return emit_verilog(config)
    from plum_hw.boards.simulation import simulation_verilog

    return simulation_verilog(pins, config, _TOP)


def _pins_key(config: ArrayConfig, pins: Board) -> str:
    boards = Path(plum_hw.__file__).parent / "boards"
    texts = [[file.name, file.read_text()] for file in sorted(boards.glob("*.*"))]
    return _digest(config.digest, repr(pins), texts)


def build_board(
    config: ArrayConfig,
    *,
    pins: Board | None = None,
    trace: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The program of a virtual board; made on first use.

    *Parameters*: ``config``, the array; ``pins``, the board at whose pins it is simulated, bit by
    bit, instead of the accelerator alone; ``trace``, able to write waves, which makes it slower;
    ``progress``, called with a line for each step that takes time.
    """
    return build_simulation(
        config.name,
        key=config.digest if pins is None else _pins_key(config, pins),
        emit=lambda: _emit(config, pins),
        top=_TOP,
        harness=_HARNESS,
        headers=() if pins is None or pins.ethernet is None else (_MII,),
        trace=trace,
        progress=progress,
    )


def build_simulation(
    name: str,
    *,
    key: str,
    emit: Callable[[], str],
    top: str,
    harness: Path,
    headers: Sequence[Path] = (),
    trace: bool = False,
    progress: Progress | None = None,
) -> Path:
    """A program that simulates gateware; made on first use. Raises `PlumError`: a tool failed.

    *Parameters*: ``name``, of the gateware, for people; ``key``, the digest of its configuration:
    what its sources do not say of it; ``emit`` gives the Verilog, whose top module is ``top``;
    ``harness``, a C++ file with `main` around a `Vboard`; ``headers``, that it includes where
    PLUM_NAME is defined; ``trace`` and ``progress`` as above.
    """
    report = progress or (lambda line: None)
    root = cache_dir() / "virtual"
    root.mkdir(parents=True, exist_ok=True)
    found = tool_versions()
    versions = {tool: found[tool] for tool in ("amaranth", "verilator", "c++")}

    verilog = root / f"{_digest(_sources_digest(), top, key, versions)}.v"
    with _lock(verilog):
        if not verilog.exists():
            report(f"writing the Verilog of {name}")
            _write_whole(verilog, emit())
    flags = [*_VERILATOR_FLAGS.split(), "--top-module", top, *(["--trace-fst"] if trace else [])]
    for header in headers:
        flags += ["-CFLAGS", f"-DPLUM_{header.stem.upper()}=1"]
    texts = [file.read_text() for file in (harness, *headers)]
    program = root / _digest(verilog.read_text(), *texts, flags, versions)
    with _lock(program):
        if not program.exists():
            report(f"compiling the simulation of {name} with Verilator (once)")
            _compile(verilog, harness, headers, flags, program)
    return program


def _compile(
    verilog: Path, harness: Path, headers: Sequence[Path], flags: list[str], target: Path
) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        work = Path(folder)
        shutil.copy(verilog, work / "board.v")
        shutil.copy(harness, work / "harness.cpp")
        (work / "obj").mkdir()
        for header in headers:
            shutil.copy(header, work / "obj" / header.name)
        command = ["verilator", *flags, "board.v", "harness.cpp"]
        result = subprocess.run(
            command,
            cwd=work,
            env={**os.environ, **verilator_env()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if result.returncode:
            log = target.with_suffix(".log")
            _write_whole(log, result.stdout)
            errors = [line for line in result.stdout.splitlines() if "rror" in line]
            first = errors[0].strip() if errors else f"exit code {result.returncode}"
            raise BuildError(f"compiling the simulation failed: {first} (whole log: {log})")
        os.replace(work / "obj" / "board", target)


def _sources_digest() -> str:
    """Of all that the Verilog is made from, so that a known array is not elaborated again."""
    package = Path(plum_hw.__file__).parent
    names = (
        "config.py",
        "controller.py",
        "layouts.py",
        "network.py",
        "registers.py",
        "timing.py",
    )
    files = [
        *sorted((package / "gateware").rglob("*.py")),
        *(package / name for name in names),
        Path(plum_host.protocol.__file__),
        Path(__file__),
    ]
    return _digest([[file.name, file.read_text()] for file in files])


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _write_whole(path: Path, text: str) -> None:
    """Write a file that others see whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Let one process at a time make `path`; the others wait and find it made."""
    with open(path.with_name(path.name + ".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
