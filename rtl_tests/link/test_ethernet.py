"""The device behind its Ethernet port under Verilator."""

from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from plum_hw.gateware.accelerator import Accelerator
from plum_hw.gateware.link.ethernet import MII, EthernetPort
from rtl_tests.bench import BenchFailure, Simulation
from rtl_tests.link import bench_ethernet

SEED = "20240511"


class EthernetDevice(wiring.Component):
    """What a board has between its PHY and nothing else."""

    mii: Out(MII)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.device = device = Accelerator(bench_ethernet.CONFIG)
        m.submodules.port = port = EthernetPort(bench_ethernet.NETWORK, bench_ethernet.CLOCK_HZ)
        connect(m, port.o, device.rx)
        connect(m, device.tx, port.i)
        connect(m, port.mii, flipped(self.mii))
        return m


def test_frames_at_the_mii(tmp_path: Path) -> None:
    simulation = Simulation(EthernetDevice(), tmp_path)
    module = "rtl_tests.link.bench_ethernet"
    simulation.run(module, {"SEED": SEED})
    with pytest.raises(BenchFailure) as failure:
        simulation.run(
            module,
            {"SEED": SEED, "FAULT": "1", "COCOTB_TEST_FILTER": "requests_are_answered$"},
        )
    assert list(failure.value.failures) == [f"{module}.requests_are_answered"]
