"""The open flow of every family, on a core that is placed and routed in seconds: an echo.

The whole path is real: Yosys, nextpnr, packer, PLL, timing. A small accelerator goes through it on
ECP5, and the iCEBreaker's own. Other boards' builds take too long for a test: their reports are
stored (test_recorded).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from plum_hw import build as build_module
from plum_hw.boards import board
from plum_hw.build import DESIGN, BuildReport, PlaceOptions, build
from plum_hw.config import ArrayConfig
from plum_hw.errors import BuildError
from plum_hw.flow.families import Resources, cell_cost, place_words
from plum_hw.flow.process import run_tool
from plum_hw.flow.timing import read_report, readable
from plum_hw.presets import preset
from plum_hw.tools import ToolMissing
from tests.boards.core import Core

#: What the echo took on each family, and the accelerator, when they were last looked at.
RECORDED = Path(__file__).with_name("recorded.json")
#: A whole accelerator that is placed and routed in a minute or two.
SMALL = ArrayConfig(
    name="small",
    lanes=16,
    act_depth=256,
    code_depth=512,
    table_depth=512,
    reach=1,
    acc_bits=14,
    sum_bits=18,
    result_depth=16,
    layer_counters=16,
    packet_bytes=272,
    queue_bytes=512,
    lut_inputs=4,
)
PLL = {
    "ecp5": dataclasses.replace(board("icepi-zero"), clock_hz=75_000_000),
    "ice40": dataclasses.replace(board("icebreaker"), clock_hz=18_000_000, leds=(("led_g", 0),)),
    "gowin": dataclasses.replace(board("tang-nano-9k"), clock_hz=40_500_000),
}


class Echo(Core):
    """Sends what it receives, and counts, so that there is a path to time."""

    def elaborate(self, platform) -> Module:
        m = Module()
        count = Signal(24)
        m.d.sync += count.eq(count + 1)
        wiring.connect(m, wiring.flipped(self.rx), wiring.flipped(self.tx))
        m.d.comb += [self.busy.eq(count[-1]), self.activity.eq(self.rx.valid)]
        return m


@pytest.fixture(scope="module", params=sorted(PLL))
def made(request, tmp_path_factory) -> BuildReport:
    folder = tmp_path_factory.mktemp(request.param)
    return build(PLL[request.param], preset("tiny"), folder, core=Echo)


def test_bitstream_of_each_family(made: BuildReport) -> None:
    assert made.bitstream is not None
    assert made.bitstream.name == f"{DESIGN}{made.board.family.suffix}"
    assert made.bitstream.stat().st_size > 30_000
    report = json.loads((made.folder / "report.json").read_text())
    assert report == made.as_dict()
    assert set(made.board.family.tools) == set(report["tools"])
    assert None not in report["tools"].values()


def test_clock_behind_the_pll_is_constrained(made: BuildReport) -> None:
    assert made.placed is not None
    asked = [clock.asked_mhz for clock in made.placed.clocks.values()]
    assert any(mhz == pytest.approx(made.board.clock_hz / 1e6, rel=2e-3) for mhz in asked)
    assert made.fmax_mhz is not None
    assert made.fmax_mhz >= made.board.clock_hz / 1e6
    assert made.placed.critical is not None
    assert "ns" in made.placed.critical.text


def test_registers_are_counted(made: BuildReport) -> None:
    # The counter of 24 bits and the serial port's registers; no memory, no multiplier.
    assert 24 < made.resources.ff < 120
    assert 24 < made.resources.lut < 400
    assert made.resources.ram == made.resources.dsp == 0


def test_counts_and_frequency_are_those_recorded(made: BuildReport) -> None:
    """A change of the tools, the flow or the line to the host shows as a diff of the file."""
    now = {"fmax_mhz": made.fmax_mhz, **made.resources.as_dict()}
    recorded = json.loads(RECORDED.read_text())[made.board.family.name]
    assert now == recorded, f"if that is meant, write into {RECORDED.name}: {json.dumps(now)}"


@pytest.mark.parametrize(
    ("name", "array", "key"),
    [("ulx3s-25f", SMALL, "accelerator"), ("icebreaker", preset("icebreaker"), "icebreaker")],
    ids=["ecp5", "ice40"],
)
def test_accelerator_meets_timing_with_the_recorded_counts(
    tmp_path: Path, name: str, array: ArrayConfig, key: str
) -> None:
    """The gateware too: what it takes and how fast it is shows as a diff."""
    done = build(board(name), array, tmp_path)
    assert done.bitstream is not None
    assert done.fmax_mhz is not None
    assert done.fmax_mhz >= done.board.clock_hz / 1e6
    now = {"fmax_mhz": done.fmax_mhz, **done.resources.as_dict()}
    recorded = json.loads(RECORDED.read_text())[key]
    assert now == recorded, f"if that is meant, write into {RECORDED.name}: {json.dumps(now)}"


def test_second_build_runs_no_tool(made: BuildReport, tmp_path, monkeypatch) -> None:
    def fail(*args, **options):
        pytest.fail(f"ran {args[0]}")

    monkeypatch.setattr("plum_hw.flow.nextpnr.run_tool", fail)
    again = build(made.board, preset("tiny"), tmp_path, core=Echo)
    assert made.bitstream is not None
    assert again.bitstream is not None
    assert again.bitstream.read_bytes() == made.bitstream.read_bytes()
    assert (tmp_path / "place.log").exists()


def test_missed_timing_is_a_failure_and_leaves_no_bitstream(tmp_path) -> None:
    fast = dataclasses.replace(PLL["ecp5"], clock_hz=400_000_000)
    (tmp_path / f"{DESIGN}.bit").write_text("of an earlier build")
    with pytest.raises(BuildError, match=r"timing missed on icepi-zero: \d+\.\d MHz of 400\.0"):
        build(fast, preset("tiny"), tmp_path, core=Echo)
    assert not (tmp_path / f"{DESIGN}.bit").exists()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["bitstream"] is None
    assert report["fmax_mhz"] < 400


def test_place_and_route_has_an_end(tmp_path) -> None:
    odd = dataclasses.replace(PLL["ecp5"], seed=77)
    with pytest.raises(BuildError, match=r"more than 0\.05 s.*--timeout"):
        build(odd, preset("tiny"), tmp_path, core=Echo, options=PlaceOptions(seconds=0.05))


def test_names_that_stop_abc_are_hidden(tmp_path, monkeypatch) -> None:
    """Yosys is a stand-in: it ends in ABC9 once, then elsewhere."""
    scripts = []

    def fails(command, folder, *, log, **options):
        scripts.append((folder / "synthesis.ys").read_text())
        where = ["Executing ABC_OPS_REINTEGRATE pass", "Executing OPT pass"][len(scripts) - 1]
        (folder / log).write_text(f"{where}\nERROR: Assert failed\n")
        raise BuildError(f"attempt {len(scripts)}")

    monkeypatch.setattr("plum_hw.flow.nextpnr.run_tool", fails)
    other = dataclasses.replace(PLL["ecp5"], synthesis_options=("-noabc9",))
    with pytest.raises(BuildError, match="attempt 2"):
        build(other, preset("tiny"), tmp_path, core=Echo)
    assert ["rename -hide" in script for script in scripts] == [False, True]


def test_missing_tool_says_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NEXTPNR_ECP5", "no-such-nextpnr")
    odd = dataclasses.replace(PLL["ecp5"], seed=78)
    with pytest.raises(ToolMissing, match=r"no-such-nextpnr.*NEXTPNR_ECP5"):
        build(odd, preset("tiny"), tmp_path, core=Echo)


def test_seeds_are_tried_until_timing_is_met(tmp_path, monkeypatch) -> None:
    """Placements are stand-ins: the third seed meets timing."""
    seeds = []

    def place(target, design, *, seed, **options):
        seeds.append(seed)
        fmax = {5: 40.0, 6: 45.0, 7: 90.0}[seed]
        return build_module.Placed(
            report=read_report(report(fmax, 75.0)), bitstream=b"bits", cells={}, log=""
        )

    monkeypatch.setattr(build_module, "place", place)
    options = PlaceOptions(seed=5, tries=9)
    done = build(PLL["ecp5"], preset("tiny"), tmp_path, core=Echo, options=options)
    assert seeds == [5, 6, 7]
    assert (done.seed, done.fmax_mhz) == (7, 90.0)
    with pytest.raises(BuildError, match=r"45\.0 MHz of 75\.0 \(best of 2 seeds: 6\)"):
        build(
            PLL["ecp5"],
            preset("tiny"),
            tmp_path,
            core=Echo,
            options=PlaceOptions(seed=5, tries=2),
        )


def report(fmax: float, asked: float) -> dict:
    """What nextpnr writes, cut short."""
    step = {"cell": "accelerator.sum_TRELLIS_FF_Q_3", "loc": [1, 1], "port": "Q"}
    end = {"cell": "accelerator.next_LUT4_Z", "loc": [2, 1], "port": "A"}
    return {
        "fmax": {"$glbnet$clk": {"achieved": fmax, "constraint": asked}},
        "utilization": {"TRELLIS_COMB": {"used": 5, "available": 24288}},
        "critical_paths": [
            {
                "from": "posedge $glbnet$clk",
                "to": "posedge $glbnet$clk",
                "path": [
                    {"type": "clk-to-q", "delay": 0.5, "from": step, "to": step},
                    {"type": "routing", "delay": 1.5, "from": step, "to": end, "net": "wide"},
                    {"type": "logic", "delay": 0.25, "from": end, "to": end},
                    {"type": "setup", "delay": 0.0, "from": end, "to": end},
                ],
            },
            {
                "from": "<async>",
                "to": "posedge $glbnet$clk",
                "path": [{"type": "routing", "delay": 99.0, "from": step, "to": end, "net": "x"}],
            },
        ],
    }


def test_critical_path_in_words() -> None:
    path = read_report(report(50, 40)).critical
    assert path is not None
    assert path.text == (
        "from accelerator.sum to accelerator.next: 2.2 ns, of them 0.8 in 1 cells and 1.5 on wires "
        "(67 %); slowest wires: wide 1.5 ns"
    )
    assert readable("a.b_SB_DFFESR_Q_3") == "a.b"


def test_tool_that_fails_is_quoted(tmp_path) -> None:
    command = ["sh", "-c", "echo fine; echo 'ERROR: no such pin'; exit 3"]
    with pytest.raises(BuildError, match=r"mapper failed: ERROR: no such pin; read .*a\.log"):
        run_tool(command, tmp_path, name="mapper", log="a.log", seconds=20)
    assert "fine" in (tmp_path / "a.log").read_text()


def test_cells_of_each_family_are_counted_or_refused() -> None:
    assert cell_cost("CCU2C", "ecp5").lut == 2
    assert cell_cost("USRMCLK", "ecp5") == Resources()  # a controller's flash has its clock there
    assert cell_cost("SB_DFFESR", "ice40").ff == 1
    assert cell_cost("MULT9X9", "gowin").dsp == 0.5
    with pytest.raises(BuildError, match="'DPB9'"):
        cell_cost("DPB9", "gowin")
    with pytest.raises(BuildError, match="do not place and route xc7a35t"):
        place_words(board("arty"), "plum")
