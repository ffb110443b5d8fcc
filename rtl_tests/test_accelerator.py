"""The whole accelerator, byte for byte, under Verilator."""

from __future__ import annotations

from pathlib import Path

import pytest

from plum_hw.gateware.accelerator import Accelerator
from rtl_tests import accelerator_bench
from rtl_tests.bench import BenchFailure, Simulation

BENCH = "rtl_tests.accelerator_bench"


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    folder: Path = tmp_path_factory.mktemp("accelerator")
    return Simulation(Accelerator(accelerator_bench.CONFIG), folder)


def test_accelerator(simulation: Simulation) -> None:
    simulation.run(BENCH, {"SEED": "20240511"})


def test_the_bench_can_fail(simulation: Simulation) -> None:
    with pytest.raises(BenchFailure):
        simulation.run(BENCH, {"SEED": "20240511", "FAULT": "1"})
