"""Blocks of the cluster, each against a model of its own written from the documentation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from plum_hw.boards.board import ECP5, XC7, Family
from plum_hw.config import ArrayConfig
from rtl_tests.bench import BenchFailure, Simulation
from rtl_tests.cluster.blocks import BLOCKS, Together

ARRAYS = {
    "one-group": ArrayConfig(
        lanes=8,
        act_bits=5,
        act_depth=64,
        code_depth=256,
        mask_bits=8,
        table_depth=512,
        acc_bits=10,
        sum_bits=16,
        reach=7,
        requant_lanes=1,
        drain_lanes=1,
        slow_clock=1,
        block_sums=1,
        scale_bits=16,
        bias_bits=36,
    ),
    "two-groups": ArrayConfig(
        lanes=16,
        act_depth=128,
        mask_bits=16,
        table_depth=512,
        reach=3,
        block_sums=1,
        requant_lanes=4,
    ),
    "eight-groups": ArrayConfig(
        clusters=5,
        write_buses=2,
        lanes=64,
        act_depth=256,
        table_depth=1024,
        acc_bits=20,
        sum_bits=25,
        reach=1,
        lut_inputs=4,
    ),
}
#: Both of its kinds of multipliers for each number of them: what has no array of its own.
REQUANTIZERS = {
    f"{lanes}-of-{inputs}-inputs": ArrayConfig(
        clusters=2, lanes=16, table_depth=512, requant_lanes=lanes, lut_inputs=inputs
    )
    for lanes, inputs in ((1, 4), (2, 4))
}
#: A drain of one lane a cycle through two groups, with sums in LUT RAM and in block RAM.
SERIAL = {
    f"serial-{kind}": ArrayConfig(
        lanes=16, table_depth=512, requant_lanes=1, drain_lanes=1, block_sums=block
    )
    for block, kind in enumerate(("lut-sums", "block-sums"))
}
#: Blocks small enough for a second, much slower simulator.
SMALL = ("decoder", "drain", "requantizer")
#: Cells that the drain is mapped to, and inputs of a LUT.
MAPPED = {
    XC7: ({"CARRY4", "FDRE", "LUT6", "RAM32M"}, 6),
    ECP5: ({"CCU2C", "LUT4", "PFUMX", "TRELLIS_DPR16X4", "TRELLIS_FF"}, 4),
}
SEED = "20260801"


@pytest.fixture(scope="module")
def simulations(tmp_path_factory):
    """The blocks of an array, compiled once."""
    built = {}

    def simulation(name: str) -> Simulation:
        if name not in built:
            blocks = Together(ARRAYS[name], tuple(BLOCKS))
            built[name] = Simulation(blocks, tmp_path_factory.mktemp(name))
        return built[name]

    return simulation


def run(simulation: Simulation, blocks: Iterable[str], name: str, **environment: str) -> None:
    config = {**ARRAYS, **REQUANTIZERS, **SERIAL}[name].as_dict()
    environment = {"CONFIG": json.dumps(config), "SEED": SEED, **environment}
    simulation.run([f"rtl_tests.cluster.bench_{block}" for block in blocks], environment)


@pytest.mark.parametrize("name", ARRAYS)
def test_blocks(simulations, name: str) -> None:
    run(simulations(name), BLOCKS, name)


@pytest.mark.parametrize("name", REQUANTIZERS)
def test_fewer_multipliers(tmp_path: Path, name: str) -> None:
    blocks = ("emitter", "requantizer")
    run(Simulation(Together(REQUANTIZERS[name], blocks), tmp_path), blocks, name)


@pytest.mark.parametrize("name", SERIAL)
def test_serial_drain(tmp_path: Path, name: str) -> None:
    blocks = ("drain", "emitter", "lanes", "requantizer")
    run(Simulation(Together(SERIAL[name], blocks), tmp_path), blocks, name)


def test_planted_faults_are_found(simulations) -> None:
    """Each model is given one wrong bit or cycle; its checker must say so."""
    with pytest.raises(BenchFailure) as caught:
        run(simulations("two-groups"), BLOCKS, "two-groups", FAULT="1")
    found = {
        name.split(".")[2] for name, said in caught.value.failures.items() if "expected" in said
    }
    assert found == {f"bench_{block}" for block in BLOCKS}


def test_small_blocks_in_icarus(tmp_path: Path) -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog (iverilog) is not on PATH; it is the second simulator")
    blocks = Together(ARRAYS["two-groups"], SMALL)
    run(Simulation(blocks, tmp_path, "icarus"), SMALL, "two-groups")


@pytest.mark.parametrize("family", MAPPED, ids=lambda family: family.name)
def test_mapped_drain(tmp_path: Path, family: Family) -> None:
    """The cells that the drain is mapped to do what the gateware says, and so do LUTs that were
    taken into carry chains. In Icarus, which compiles so many small parts sooner than Verilator.
    """
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog (iverilog) is not on PATH; netlists are simulated by it")
    cells, inputs = MAPPED[family]
    config = replace(ARRAYS["two-groups"], block_sums=0, lut_inputs=inputs)
    simulation = Simulation(Together(config, ("drain",)), tmp_path, "icarus", mapped=family)
    assert cells <= set(simulation.cells)
    environment = {
        "CONFIG": json.dumps(config.as_dict()),
        "SEED": SEED,
        "COCOTB_TEST_FILTER": r"sums/gap=0\.0/",
    }
    simulation.run("rtl_tests.cluster.bench_drain", environment)
    with pytest.raises(BenchFailure):
        simulation.run("rtl_tests.cluster.bench_drain", {**environment, "FAULT": "1"})
