"""The device and its link."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.config import ArrayConfig
from plum_hw.gateware.device import Device
from plum_hw.gateware.link.link import Link
from plum_hw.layouts import RATE_BITS


class Accelerator(wiring.Component):
    """Everything between the bytes of a line: the same on every board and in simulation.

    Parameters
    ----------
    config : ArrayConfig
    clock_hz : of the clock, for the host to know; 0 where nobody said

    Members
    -------
    rx, tx : bytes of the line
    busy : a run is in progress
    error : a run went wrong (an emission met another); stays until the next run starts
    activity : a byte is moving
    rate, set_rate : the host sets the rate of a serial line, in bits per 2**RATE_BITS cycles
    idle : no request is being served; answers may still be on their way out
    """

    def __init__(self, config: ArrayConfig, clock_hz: int = 0) -> None:
        self.config = config
        self._clock_hz = clock_hz
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "tx": Out(stream.Signature(8)),
                "busy": Out(1),
                "error": Out(1),
                "activity": Out(1),
                "idle": Out(1),
                "rate": Out(RATE_BITS),
                "set_rate": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.link = link = Link(self.config)
        m.submodules.device = device = Device(self.config, self._clock_hz)
        connect(m, flipped(self.rx), link.rx)
        connect(m, link.tx, flipped(self.tx))
        connect(m, link.host, device.host)
        m.d.comb += [
            device.targets.eq(link.targets),
            device.start.eq(link.start),
            device.program.eq(link.program),
            device.layers.eq(link.layers),
            device.results_at.eq(link.results_at),
            device.finish.eq(link.finish),
            device.abort.eq(link.abort),
            link.busy.eq(device.busy),
            self.busy.eq(device.busy),
            self.idle.eq(link.idle),
            self.error.eq(device.error),
            self.rate.eq(device.rate),
            self.set_rate.eq(device.set_rate),
            self.activity.eq((self.rx.valid & self.rx.ready) | (self.tx.valid & self.tx.ready)),
        ]
        return m
