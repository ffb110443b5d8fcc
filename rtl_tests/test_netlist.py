"""The accelerator as mapped to Artix-7, made of the cells' models, with a whole network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from plum_hw.boards.board import XC7
from plum_hw.config import ArrayConfig
from plum_hw.gateware.accelerator import Accelerator
from rtl_tests.bench import BenchFailure, Simulation

#: Every kind of cell that the boards' arrays are mapped to, and few of them.
CONFIG = ArrayConfig(
    name="netlist",
    lanes=16,
    act_depth=64,
    code_depth=512,
    mask_bits=16,
    table_depth=256,
    acc_bits=12,
    sum_bits=18,
    reach=1,
    result_depth=16,
    layer_counters=16,
    packet_bytes=128,
    queue_bytes=256,
    requant_lanes=4,
)
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
