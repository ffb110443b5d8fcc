"""How every command speaks: progress on stderr; one line for an error, exit code 2."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from plum_host.errors import PlumHostError
from plum_hw.errors import ConfigError, PlumError

#: People's output; JSON goes to plain stdout so that it is never wrapped or coloured.
err = Console(stderr=True, highlight=False)
out = Console(highlight=False)

# Without a terminal, what takes no longer than this leaves no line.
_QUIET_SECONDS = 15.0
_LINE_SECONDS = 10.0


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def say(text: str) -> None:
    """One line for people, as it is."""
    out.print(text, markup=False, soft_wrap=True)


class Activity:
    """What a long command is at, on stderr.

    In a terminal a moving line with the time; elsewhere a line for each step that takes longer, and
    one every ten seconds while things are counted.
    """

    def __init__(self) -> None:
        self._live: Progress | None = None
        self._timer: threading.Timer | None = None
        self._text = ""
        self._total: int | None = None
        self._said = 0.0

    def step(self, text: str, total: int | None = None) -> None:
        """The next step; `total` if it is one that counts."""
        self.end()
        self._text, self._total = text, total
        if err.is_terminal:
            self._live = Progress(*_columns(total), console=err, transient=True)
            self._live.add_task(text, total=total, count="")
            self._live.start()
            return
        self._said = time.monotonic()
        if total is None:
            self._timer = threading.Timer(_QUIET_SECONDS, _line, [text])
            self._timer.daemon = True
            self._timer.start()

    def done(self, count: int, total: int | None = None) -> None:
        """So many are done; `total` where there turn out to be more than the step began with."""
        self._total = total or self._total
        if self._live is not None:
            task = self._live.task_ids[0]
            text = f"{count}/{self._total}"
            self._live.update(task, completed=count, total=self._total, count=text)
        elif time.monotonic() - self._said >= _LINE_SECONDS:
            self._said = time.monotonic()
            _line(f"{self._text}: {count} of {self._total}")

    def end(self) -> None:
        """The step is over."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> Activity:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()


def _columns(total: int | None) -> list[ProgressColumn]:
    columns: list[ProgressColumn] = [
        SpinnerColumn("line"),
        TextColumn("{task.description}", markup=False),
    ]
    if total is not None:
        columns += [BarColumn(), TextColumn("{task.fields[count]}"), TimeRemainingColumn()]
    return [*columns, TimeElapsedColumn()]


def _line(text: str) -> None:
    err.print(f"plum: {text}", markup=False, soft_wrap=True)


def positive(text: str) -> int:
    """Parser of an option that is a number of 1 or more."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ConfigError(f"{text!r} is not a number of images; it must be an integer of 1 or more")
    return value


def run(app: typer.Typer, prog: str, words: Sequence[str] | None = None) -> None:
    """Run an application with these words, or the command line's; errors that a user can mend are
    one line and exit code 2.
    """
    try:
        code = app(args=words, prog_name=prog, standalone_mode=False)
        sys.stdout.flush()
    except (PlumError, PlumHostError) as error:
        _fail(prog, str(error))
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever read the output has had enough. The interpreter's own flush would fail once more.
        sys.stdout = None
        code = 1
    except OSError as error:
        if error.filename is None:
            raise
        _fail(prog, f"{error.filename}: {error.strerror}")
    except Exception as error:
        # Errors of usage. Typer has copies of click's classes, in places that are not public.
        message: Callable[[], str] | None = getattr(error, "format_message", None)
        if message is None:
            raise
        context = getattr(error, "ctx", None)
        path = prog if context is None else context.command_path
        # Of a choice, Typer says first which exception it was.
        said = message().strip().rstrip(".").replace("Value error, ", "")
        _fail(prog, f"{said}; see {path} --help")
    if code == 130:
        err.print(f"{prog}: interrupted", markup=False)
    raise SystemExit(code if isinstance(code, int) else 0)


def _fail(prog: str, message: str) -> NoReturn:
    err.print(f"{prog}: error: {' '.join(message.split())}", markup=False, soft_wrap=True)
    raise SystemExit(2) from None
