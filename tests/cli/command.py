"""Commands of the project in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

Done = subprocess.CompletedProcess[str]
Plum = Callable[..., Done]
SECONDS = 300


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """`python -m ARGUMENTS` with pipes for stdout and stderr.

    It hears an interrupt even where the tests run in the background and so ignore it.
    """
    options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def call(*arguments: object, **options: Any) -> Done:
    """`python -m ARGUMENTS` to its end."""
    process = start(*arguments, **options)
    output, errors = process.communicate(timeout=SECONDS)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
