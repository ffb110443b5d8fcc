"""Yosys for tests of netlists."""

from __future__ import annotations

import subprocess
from pathlib import Path

from plum_hw.tools import tool_command


def yosys(folder: Path, script: str) -> str:
    """What Yosys prints of a script in a folder; FAILED and its errors behind that if it fails."""
    done = subprocess.run(
        [*tool_command("yosys", needed_by="a test"), "-p", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout + ("" if done.returncode == 0 else "FAILED" + done.stderr)
