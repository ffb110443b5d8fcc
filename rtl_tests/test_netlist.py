"""The accelerator as mapped to Artix-7 and ECP5, of the cells' models, with a whole network."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from plum_hw.boards.board import ECP5, XC7, Family
from plum_hw.gateware.accelerator import Accelerator
from rtl_tests.bench import BenchFailure, Simulation
from tests.arrays import SMALL

#: An array and the cells that it is mapped to: every kind that the boards' arrays have, and few.
ARRAY = dataclasses.replace(SMALL, name="netlist", lanes=16, act_depth=64, requant_lanes=4)
MAPPED = {
    XC7: (ARRAY, {"CARRY4", "DSP48E1", "FDRE", "LUT6", "RAM32M", "RAMB18E1", "RAMB36E1"}),
    ECP5: (
        dataclasses.replace(ARRAY, act_depth=512, lut_inputs=4),
        {"CCU2C", "DP16KD", "LUT4", "MULT18X18D", "PFUMX", "TRELLIS_DPR16X4", "TRELLIS_FF"},
    ),
}


@pytest.mark.parametrize("family", MAPPED, ids=lambda family: family.name)
def test_mapped_accelerator_runs_a_network(tmp_path: Path, family: Family) -> None:
    """Outputs, memories and counters of cycles are those of the golden device. In Icarus, which
    compiles so many small parts sooner than Verilator.
    """
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog (iverilog) is not on PATH; netlists are simulated by it")
    config, cells = MAPPED[family]
    simulation = Simulation(Accelerator(config), tmp_path, "icarus", mapped=family)
    assert set(simulation.cells) >= cells
    environment = {"CONFIG": json.dumps(config.as_dict()), "SEED": "1", "NETWORK": "3"}
    simulation.run("rtl_tests.bench_accelerator", environment)
    with pytest.raises(BenchFailure):
        simulation.run("rtl_tests.bench_accelerator", {**environment, "FAULT": "1"})
