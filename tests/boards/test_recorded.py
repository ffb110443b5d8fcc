"""Stored reports of boards, and the table that the README makes of them."""

from __future__ import annotations

import pytest

from benchmarks.board_reports import END, README, REPORTS, boards_table, load_reports
from benchmarks.board_reports import write_readme as with_table
from plum_hw.boards import board, boards


def test_readme_shows_the_stored_reports() -> None:
    text = README.read_text()
    assert with_table(text, load_reports()) == text, "run: python -m benchmarks.board_reports"


def test_reports_are_of_boards_and_whole() -> None:
    names = {path.stem for path in REPORTS.glob("*.json")}
    assert names <= set(boards())
    for report in load_reports():
        item = board(report["board"])
        assert report["part"] == item.part
        assert report["capacity"] == item.capacity.as_dict()
        assert all(report["resources"][kind] <= most for kind, most in report["capacity"].items())
        assert report["fmax_mhz"] is None or report["fmax_mhz"] >= report["clock_mhz"]
        assert all(report["tools"].values())


def test_boards_without_a_measured_frequency_have_a_dash() -> None:
    counts = {"lut": 50, "ff": 10, "ram": 1.5, "dsp": 0}
    report = {
        "board": "some",
        "part": "P",
        "clusters": 2,
        "lanes": 8,
        "clock_mhz": 12.5,
        "fmax_mhz": None,
        "resources": counts,
        "capacity": {"lut": 100, "ff": 100, "ram": 3, "dsp": 1},
        "units": {"lut": "LUT4", "ff": "FF", "ram": "EBR", "dsp": "MULT18"},
        "demo": {"network": "n", "cycles": 1000, "frames_per_second": 12500.0},
    }
    row = boards_table([report]).splitlines()[-1]
    assert row == (
        "| `some` | P | 2 x 8 | 50 LUT4 (50 %) | 1.5 EBR (50 %) | 0 MULT18 (0 %) | 12.5 | - | "
        "1,000 | 12,500 |"
    )
    measured = boards_table([report | {"fmax_mhz": 13.25}]).splitlines()[-1]
    assert "| 12.5 | 13.2 | 1,000 |" in measured
    with pytest.raises(SystemExit, match="has no lines"):
        with_table("no marks", [])
    assert END not in boards_table([report])
