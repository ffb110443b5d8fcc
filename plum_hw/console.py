"""How every command of the project speaks: one line for an error, exit code 2, never a traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from plum_host.errors import PlumHostError
from rich.console import Console

from plum_hw.errors import PlumError

#: People's output; JSON goes to plain stdout so that it is never wrapped or coloured.
err = Console(stderr=True, highlight=False)
out = Console(highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def run(command: Callable[[], Any], prog: str) -> None:
    """Call a Typer application and turn the user's errors into one line and exit code 2."""
    try:
        command()
    except (PlumError, PlumHostError) as error:
        err.print(f"{prog}: error: {error}", markup=False, soft_wrap=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        err.print(f"{prog}: interrupted")
        raise SystemExit(130) from None
