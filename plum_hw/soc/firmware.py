"""Compiles `firmware/` with the cross compiler; results are kept with the caches."""

from __future__ import annotations

import enum
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from plum_hw.errors import BuildError
from plum_hw.tools import ToolMissing, cache_dir

FOLDER = Path(__file__).resolve().parents[2] / "firmware"
CROSS = "riscv64-unknown-elf-"
_SECONDS = 300


class App(enum.StrEnum):
    """Applications of `firmware/`."""

    STANDALONE = "standalone"
    MONITOR = "monitor"


@dataclass(frozen=True)
class Firmware:
    """An application as the ROM holds it.

    image : the ROM's bytes
    text, bss : bytes of code with constants, and of variables
    """

    app: App
    image: bytes
    text: int
    bss: int


def sources() -> list[Path]:
    """Everything that a build reads."""
    kinds = ("*.c", "*.h", "*.S", "*.ld", "Makefile")
    names = ("include", "src", "board", "apps", ".")
    return sorted(path for name in names for kind in kinds for path in (FOLDER / name).glob(kind))


def compiler_version() -> str:
    """First line that the cross compiler says of itself. Raises `ToolMissing`."""
    if not FOLDER.is_dir():
        raise ToolMissing(
            f"the folder {FOLDER}",
            needed_by="the controller's firmware",
            remedy="install the project from a checkout",
        )
    compiler = f"{CROSS}gcc"
    if shutil.which(compiler) is None:
        raise ToolMissing(
            compiler,
            needed_by="the controller's firmware",
            remedy="install the system packages gcc-riscv64-unknown-elf and "
            "picolibc-riscv64-unknown-elf, or run ./plum.sh setup",
        )
    shown = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return shown.stdout.partition("\n")[0]


def build_firmware(app: App = App.STANDALONE) -> Firmware:
    """An application; made on first use.

    Raises
    ------
    ToolMissing : no cross compiler, no make, or no sources
    BuildError : it does not compile, or does not fit
    """
    version = compiler_version()
    if shutil.which("make") is None:
        raise ToolMissing("make", needed_by="the firmware", remedy="install the package make")
    digest = hashlib.sha256(version.encode())
    for path in sources():
        digest.update(str(path.relative_to(FOLDER)).encode() + b"\0" + path.read_bytes())
    kept = cache_dir() / "firmware" / digest.hexdigest()[:32]
    if not (kept / f"{app}.bin").exists():
        _make(kept)
    text, bss = _sizes(kept / f"{app}.elf")
    return Firmware(app, (kept / f"{app}.bin").read_bytes(), text, bss)


def _make(target: Path) -> None:
    """Build both applications into a folder, which others see whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name) / "build"
        # Flags of a make that runs this one mean nothing here.
        environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS")}
        try:
            run = subprocess.run(
                ["make", "-C", str(FOLDER), f"BUILD={folder}", f"CROSS={CROSS}"],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BuildError(f"compiling the firmware took more than {_SECONDS} s") from None
        if run.returncode:
            errors = [line for line in run.stderr.splitlines() if "error" in line]
            raise BuildError(
                f"compiling the firmware failed: {errors[0] if errors else run.stderr.strip()}"
            )
        whole = Path(name) / "whole"
        whole.mkdir()
        for app in App:
            for kind in ("bin", "elf"):
                shutil.copy(folder / f"{app}.{kind}", whole)
        try:
            whole.rename(target)
        except OSError:
            # Somebody else was quicker.
            if not target.exists():
                raise


def _sizes(elf: Path) -> tuple[int, int]:
    run = subprocess.run([f"{CROSS}size", str(elf)], capture_output=True, text=True, check=False)
    found = re.search(r"^\s*(\d+)\s+(\d+)\s+(\d+)\s", run.stdout, re.MULTILINE)
    if found is None:
        raise BuildError(f"{CROSS}size does not say how large {elf} is: {run.stderr.strip()}")
    return int(found[1]) + int(found[2]), int(found[3])
