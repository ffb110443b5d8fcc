"""Runs one tool in a folder: bounded in time, with a word on where it is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from plum_hw.errors import BuildError

#: Lines of a tool's output that a message repeats where it says nothing that looks like an error.
_LAST_LINES = 3


def run_tool(
    command: list[str],
    folder: Path,
    *,
    name: str,
    log: str,
    kept: Path | None = None,
    seconds: float,
    milestones: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> str:
    """Run a command in a folder; returns what it printed, which is in the file `log` too.

    name : of the tool, for messages
    kept : where the log will be found afterwards, for messages; the folder unless given
    seconds : after which it is stopped
    milestones : beginnings of lines, and what `progress` is told when one comes

    Raises
    ------
    BuildError : it failed, or took too long
    """
    said: list[str] = []
    place = (kept or folder) / log
    with (folder / log).open("w", buffering=1) as copy:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        late = threading.Event()

        def stop() -> None:
            late.set()
            _stop(process)

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                copy.write(line)
                for beginning, text in (milestones or {}).items():
                    if line.startswith(beginning):
                        progress(text)
            process.wait()
        finally:
            timer.cancel()
            _stop(process)
            process.wait()
    if late.is_set():
        raise BuildError(
            f"{name} took more than {seconds:g} s and was stopped; read {place}, or give it "
            "more time with --timeout"
        )
    if process.returncode:
        raise BuildError(f"{name} failed: {_reason(said, process.returncode)}; read {place}")
    return "".join(said)


def _stop(process: subprocess.Popen[str]) -> None:
    """End a process and what it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _reason(said: list[str], code: int) -> str:
    """What a failed tool says of it."""
    lines = [line.strip() for line in said if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or [" / ".join(lines[-_LAST_LINES:])])[0] or f"it ended with code {code}"
