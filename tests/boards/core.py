"""What stands behind a board's pins in tests, in the accelerator's place."""

from __future__ import annotations

from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig


class Core(wiring.Component):
    """The ports that `BoardTop` asks of what it builds."""

    def __init__(self, config: ArrayConfig, clock_hz: int) -> None:
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "tx": Out(stream.Signature(8)),
                "busy": Out(1),
                "error": Out(1),
                "activity": Out(1),
            }
        )
