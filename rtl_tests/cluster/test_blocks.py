"""Blocks of the cluster, each against a model of its own written from the documentation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

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
    ),
    "two-groups": ArrayConfig(
        lanes=16, act_depth=128, mask_bits=16, table_depth=512, reach=3, block_sums=1
    ),
    "eight-groups": ArrayConfig(
        clusters=3,
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
#: Blocks small enough for a second, much slower simulator.
SMALL = ("decoder", "drain", "requantizer")
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
    config = json.dumps(ARRAYS[name].as_dict())
    environment = {"CONFIG": config, "SEED": SEED, **environment}
    simulation.run([f"rtl_tests.cluster.bench_{block}" for block in blocks], environment)


@pytest.mark.parametrize("name", ARRAYS)
def test_blocks(simulations, name: str) -> None:
    run(simulations(name), BLOCKS, name)


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
