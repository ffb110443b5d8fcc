"""The accelerator as mapped to Artix-7, made of the cells' models, with a whole network."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from plum_hw.boards.board import XC7
from plum_hw.gateware.accelerator import Accelerator
from rtl_tests.bench import BenchFailure, Simulation
from tests.arrays import SMALL

#: Every kind of cell that the boards' arrays are mapped to, and few of them.
CONFIG = dataclasses.replace(SMALL, name="netlist", lanes=16, act_depth=64, requant_lanes=4)
CELLS = {"CARRY4", "DSP48E1", "FDRE", "LUT6", "RAM32M", "RAMB18E1", "RAMB36E1"}


def test_mapped_accelerator_runs_a_network(tmp_path: Path) -> None:
    """Outputs, memories and counters of cycles are those of the golden device. In Icarus, which
    compiles so many small parts sooner than Verilator.
    """
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog (iverilog) is not on PATH; netlists are simulated by it")
    simulation = Simulation(Accelerator(CONFIG), tmp_path, "icarus", mapped=XC7)
    assert set(simulation.cells) >= CELLS
    environment = {"CONFIG": json.dumps(CONFIG.as_dict()), "SEED": "1", "NETWORK": "3"}
    simulation.run("rtl_tests.bench_accelerator", environment)
    with pytest.raises(BenchFailure):
        simulation.run("rtl_tests.bench_accelerator", {**environment, "FAULT": "1"})
