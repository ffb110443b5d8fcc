"""Switching energy of a netlist of three cells, by hand."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.energy import PARTS
from benchmarks.results import energy_ratio
from benchmarks.run import ENERGY
from benchmarks.switching import Netlist, read_liberty, read_toggles

LIBERTY = """
/* a comment */
library(small) {
  nom_voltage : 2;
  cell (INV) {
    pin(A) { direction : input; capacitance : 0.5; }
    pin(Y) {
      direction : output; capacitance : 0;
      internal_power() {
        related_pin : "A";
        rise_power(t) { index_1 ("0.1, 1.0"); index_2 ("0.2, 0.6");
          values ("1, 2", \\
            "3, 4"); }
        fall_power(t) { index_1 ("0.1, 1.0"); index_2 ("0.2, 0.6"); values ("5, 6", "7, 8"); }
      }
    }
  }
  cell (DFF) {
    ff (x, y) { next_state : "D"; clocked_on : "CLK"; }
    pin(CLK) {
      direction : input; capacitance : 0.25; clock : true;
      internal_power() {
        rise_power(p) { index_1 ("0.2, 0.6"); values ("0.5, 1"); }
        fall_power(p) { index_1 ("0.2, 0.6"); values ("1.5, 3"); }
      }
    }
    pin(D) { direction : input; capacitance : 0.1; }
    pin(Q) { direction : output; capacitance : 0; }
  }
}
"""


def cell(kind: str, **connections: int) -> dict:
    directions = {name: "output" if name in "YQ" else "input" for name in connections}
    bits = {name: [bit] for name, bit in connections.items()}
    return {"type": kind, "port_directions": directions, "connections": bits}


#: q -> lanes' inverter -> n1 -> drain's inverter -> n2 -> flip-flop -> q
MODULE = {
    "netnames": {
        "clk": {"bits": [2]},
        "q": {"bits": ["0", 3]},
        "n1": {"bits": [4]},
        "n2": {"bits": [5]},
    },
    "cells": {
        "$flatten\\cluster_0.\\lanes.$abc$1": cell("INV", A=3, Y=4),
        "$flatten\\cluster_0.\\drain$104.$abc$2": cell("INV", A=4, Y=5),
        "$flatten\\conductor.$ff$3": cell("DFF", CLK=2, D=5, Q=3),
    },
}
SAIF = """
(INSTANCE TOP
   (clk (T0 10) (T1 10) (TZ 0) (TX 0) (TB 0) (TC 20))
   (q\\[0\\] (T0 20) (T1 0) (TZ 0) (TX 0) (TB 0) (TC 0))
   (q\\[1\\] (T0 10) (T1 10) (TZ 0) (TX 0) (TB 0) (TC 5))
   (n1 (T0 10) (T1 10) (TZ 0) (TX 0) (TB 0) (TC 6))
   (n2 (T0 10) (T1 10) (TZ 0) (TX 0) (TB 0) (TC 7))
"""


@pytest.fixture
def liberty(tmp_path: Path) -> Path:
    path = tmp_path / "small.lib"
    path.write_text(LIBERTY)
    return path


def test_liberty(liberty: Path) -> None:
    cells, voltage = read_liberty(liberty)
    assert voltage == 2
    assert set(cells) == {"INV", "DFF"}
    out = cells["INV"]["Y"]
    assert out.output
    # The row of the nearest load, the column of the nearest transition; mean of rise and fall.
    assert out.energy(0.2) == pytest.approx((1 + 5) / 2)
    assert out.energy(0.9) == pytest.approx((3 + 7) / 2)
    assert cells["DFF"]["CLK"].clock
    assert cells["DFF"]["CLK"].energy(0) == pytest.approx((0.5 + 1.5) / 2)


def test_energy_by_hand(liberty: Path, tmp_path: Path) -> None:
    (tmp_path / "netlist.json").write_text(json.dumps({"modules": {"device": MODULE}}))
    (tmp_path / "toggles.saif").write_text(SAIF)
    netlist = Netlist(tmp_path / "netlist.json", "device", liberty)
    assert netlist.size == {"lanes": 1, "drain": 1, "control": 1}
    toggles = read_toggles(tmp_path / "toggles.saif")
    assert toggles == {"clk": 20, "q[0]": 0, "q[1]": 5, "n1": 6, "n2": 7}
    energy = netlist.energy(toggles, cycles=10)
    half_square = 2 * 2 / 2
    assert energy["lanes"] == pytest.approx(6 * (3 + 0.5 * half_square))  # load: the next A
    assert energy["drain"] == pytest.approx(7 * (3 + 0.1 * half_square))  # load: D
    assert energy["control"] == pytest.approx(5 * 0.5 * half_square)  # Q has no tables
    assert energy["clock"] == pytest.approx(20 * (1 + 0.25 * half_square))


def test_a_net_that_was_not_traced_is_an_error(liberty: Path, tmp_path: Path) -> None:
    (tmp_path / "netlist.json").write_text(json.dumps({"modules": {"device": MODULE}}))
    netlist = Netlist(tmp_path / "netlist.json", "device", liberty)
    with pytest.raises(KeyError, match=re.escape("q[1]")):
        netlist.energy({"n1": 1, "n2": 1}, cycles=1)


def test_committed_energies_add_up() -> None:
    energy = json.loads(ENERGY.read_text())
    assert energy["parts"] == list(PARTS)
    for run in energy["runs"]:
        assert run["total"] == pytest.approx(sum(run["energy"].values()), rel=1e-6)
    assert energy_ratio(energy, "signed-binary", 1) == 1
    for scheme in ("binary", "binary-offset", "ternary"):
        assert energy_ratio(energy, scheme, 1) > 1
