"""The golden machine as a device of `plum_host`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plum_hw.errors import PlumError
from plum_hw.golden.device import GoldenDevice
from plum_hw.presets import as_config

if TYPE_CHECKING:
    from plum_host.transports import Transport


def open_golden(config: Any = None) -> Transport:
    """A golden machine of its own; `config` as `plum_hw.presets.as_config` takes it."""
    from plum_host.errors import TransportError
    from plum_host.transports import InProcessTransport

    try:
        return InProcessTransport("golden", GoldenDevice(as_config(config)))
    except PlumError as error:
        raise TransportError(f"golden: {error}") from None
