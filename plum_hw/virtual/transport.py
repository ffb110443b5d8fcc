"""The virtual board as a device of `plum_host`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plum_hw.errors import PlumError
from plum_hw.presets import as_config
from plum_hw.virtual.board import VirtualBoard
from plum_hw.virtual.build import Progress

if TYPE_CHECKING:
    from plum_host.transports import Transport


def open_virtual(config: Any = None, *, progress: Progress | None = None) -> Transport:
    """Start a virtual board that ends when the transport is closed.

    *Parameters*: ``config`` as `plum_hw.presets.as_config` takes it; ``progress`` is told about the
    first build.
    """
    from plum_host.errors import TransportError
    from plum_host.transports import SerialTransport

    try:
        board = VirtualBoard(as_config(config), progress=progress)
    except PlumError as error:
        raise TransportError(f"virtual: {error}") from None
    except ModuleNotFoundError as error:
        raise TransportError(
            f"virtual: the Python package {error.name} is missing; pip install 'plum-hw[hw,sim]'"
        ) from None
    try:
        return SerialTransport(board.url, name="virtual", on_close=board.close)
    except BaseException:
        board.close()
        raise
