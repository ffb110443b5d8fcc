"""Projects, resource reports and what a build refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plum_hw import build as build_module
from plum_hw.boards import Capacity, board, boards
from plum_hw.boards.board import XC7
from plum_hw.build import DESIGN, build
from plum_hw.errors import BuildError, ConfigError
from plum_hw.flow.families import Resources, cell_cost
from plum_hw.flow.vivado import worst_slack_ns
from plum_hw.presets import preset

TIMING = """
    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)
    -------      -------  ---------------------  -------------------      -------
     {slack}       0.000                      0                 7410        0.044
"""


@pytest.fixture(scope="module")
def arty_project(tmp_path_factory):
    """The Arty project with the small array: a minute of synthesis, cached between runs."""
    folder = tmp_path_factory.mktemp("arty")
    return build(board("arty"), preset("tiny"), folder)


def vivado(folder: Path, monkeypatch, slack: str, code: int = 0) -> None:
    """Put a stand-in on PATH that writes what Vivado would write, and ends with `code`."""
    tool = folder / "vivado"
    tool.write_text(
        "#!/bin/sh\n"
        f"cat > {DESIGN}_timing.rpt <<'END'\n{TIMING.format(slack=slack)}END\n"
        f"echo bits > {DESIGN}.bit\nexit {code}\n"
    )
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_unknown_board_lists_the_known():
    with pytest.raises(ConfigError, match=r"'artix'.*arty, arty-a7-100"):
        board("artix")


@pytest.mark.parametrize("name", sorted(boards()))
def test_board_agrees_with_its_platform(name):
    item = board(name)
    platform = item.make_platform()
    if item.family is XC7:
        assert platform._part == item.part
    assert platform.default_clk_constraint.frequency == item.oscillator_hz
    divisor = round(item.clock_hz / item.baud)
    assert item.clock_hz / divisor == pytest.approx(item.baud, rel=0.005)
    preset(item.array)


def test_project_is_complete(arty_project):
    folder = arty_project.folder
    names = {path.name for path in folder.iterdir()}
    assert {f"{DESIGN}.v", f"{DESIGN}.xdc", f"{DESIGN}.tcl", f"build_{DESIGN}.sh"} <= names
    constraints = (folder / f"{DESIGN}.xdc").read_text()
    for pin in ("E3", "C2", "A9", "D10", "H5", "J5", "T9"):
        assert f"LOC {pin} " in constraints, pin
    assert "create_clock -name clk100_0__io -period 10.0" in constraints
    # Every port but the clock's is declared asynchronous, so no path has no constraint.
    ports = set(re.findall(r'set_property LOC \w+ \[get_ports "(.*?)"', constraints))
    free = set(re.findall(r"set_false_path -(?:from|to) \[get_ports \{(.*?)\}\]", constraints))
    assert ports - free == {"clk100_0__io"}
    assert free <= ports
    assert "-part xc7a35ticsg324-1L" in (folder / f"{DESIGN}.tcl").read_text()
    assert json.loads((folder / "report.json").read_text()) == arty_project.as_dict()


def test_report_counts_what_the_array_must_have(arty_project):
    report = arty_project.as_dict()
    config = arty_project.config
    assert report["bitstream"] is None
    assert report["fmax_mhz"] is None
    assert report["resources"]["dsp"] >= config.group_lanes
    assert report["resources"]["ff"] > config.lanes * config.acc_bits
    bits = config.act_depth * config.lanes * config.act_bits
    assert report["resources"]["ram"] * 36 * 1024 >= bits
    blocks = report["blocks"]
    parts = ("activation", "decoder", "drain", "emitter", "fetcher", "lanes", "sequencer", "walker")
    assert {f"cluster.{part}" for part in parts} | {"link", "line"} < set(blocks)
    assert not [name for name in blocks if "buffer" in name or "$" in name]
    inside = [cost["lut"] for name, cost in blocks.items() if name.startswith("cluster.")]
    # A cluster is counted flattened, its blocks are not.
    assert 0.8 * sum(inside) < blocks["cluster"]["lut"] < 1.2 * sum(inside)
    assert 0 < blocks["link"]["lut"] < report["resources"]["lut"]


def test_verilog_is_the_same_again(arty_project, tmp_path):
    build(board("arty"), preset("tiny"), tmp_path)
    for name in (f"{DESIGN}.v", "plum_cluster.v"):
        assert (tmp_path / name).read_bytes() == (arty_project.folder / name).read_bytes()


def test_the_arty_holds_five_clusters(tmp_path):
    """Mapped once, counted five times; the counts themselves are those of this Yosys."""
    report = build(board("arty"), preset("arty-a7-35t"), tmp_path).as_dict()
    used, blocks = report["resources"], report["blocks"]
    assert used["ram"] <= report["capacity"]["ram"]
    assert used["dsp"] == 5 * 8
    assert used["ram"] > 5 * blocks["cluster"]["ram"]


def test_five_clusters_take_at_most_70_percent(tmp_path):
    report = build(board("arty"), preset("arty-a7-35t"), tmp_path).as_dict()
    assert report["resources"]["lut"] <= 0.70 * report["capacity"]["lut"]


def test_design_that_does_not_fit(arty_project, tmp_path):
    small = dataclasses.replace(board("arty"), capacity=Capacity(lut=100, ff=99999, ram=99, dsp=99))
    with pytest.raises(BuildError, match=r"does not fit xc7a35t.* of 100 LUT"):
        build(small, preset("tiny"), tmp_path)


def test_bitstream_without_a_tool(tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "tool_path", lambda name: None)
    with pytest.raises(BuildError, match="vivado is not on PATH"):
        build(board("arty"), preset("tiny"), tmp_path, bitstream=True)


def test_vivado_with_timing_met(arty_project, tmp_path, monkeypatch):
    vivado(tmp_path, monkeypatch, "0.250")
    report = build(board("arty"), preset("tiny"), tmp_path / "out")
    assert report.bitstream == tmp_path / "out" / f"{DESIGN}.bit"
    assert report.fmax_mhz == pytest.approx(1000 / 9.75)


def test_vivado_with_timing_missed_leaves_no_bitstream(arty_project, tmp_path, monkeypatch):
    vivado(tmp_path, monkeypatch, "-0.500")
    with pytest.raises(BuildError, match=r"timing missed at 100 MHz.*95\.2 MHz"):
        build(board("arty"), preset("tiny"), tmp_path / "out")
    assert not (tmp_path / "out" / f"{DESIGN}.bit").exists()


def test_vivado_that_fails(arty_project, tmp_path, monkeypatch):
    vivado(tmp_path, monkeypatch, "0.250", code=3)
    with pytest.raises(BuildError, match="Vivado failed with code 3"):
        build(board("arty"), preset("tiny"), tmp_path / "out")


def test_timing_report_without_slack():
    with pytest.raises(BuildError, match="no worst slack"):
        worst_slack_ns("No constraints")


def test_cells_are_counted_or_refused():
    assert cell_cost("LUT6") == Resources(lut=1)
    assert cell_cost("RAM32M") == Resources(lut=4)
    assert cell_cost("RAMB18E1") == Resources(ram=0.5)
    with pytest.raises(BuildError, match="'URAM288'"):
        cell_cost("URAM288")


def test_build_command_prints_where_to_go_on(arty_project, tmp_path):
    import typer

    app = typer.Typer()
    app.command()(build_module.build_command)
    arguments = ["--board", "arty", "--array", "tiny", "--out", str(tmp_path / "arty")]
    plain = CliRunner().invoke(app, arguments)
    assert plain.exit_code == 0, plain.output
    assert plain.stdout.strip().endswith(f"sh build_{DESIGN}.sh")
    reported = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(reported.stdout)["board"] == "arty"
