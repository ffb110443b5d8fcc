"""Stored reports of boards: the README shows them, and small builds still give the same.

A build that takes more than a twentieth more of anything, or misses timing, fails here; one that
takes less does so too, so that the stored report follows.
"""

from __future__ import annotations

import json

import pytest

from benchmarks.board_reports import END, README, REPORTS, boards_table, kept, load_reports
from benchmarks.board_reports import write_readme as with_table
from plum_hw.boards import board, boards
from plum_hw.build import build
from plum_hw.config import preset

#: Boards whose accelerators are placed and routed in minutes.
GATED = ("tang-nano-9k",)
TOLERANCE = 0.05


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
    report = load_reports()[0] | {"fmax_mhz": None}
    assert "| - |" in boards_table([report])
    with pytest.raises(SystemExit, match="has no lines"):
        with_table("no marks", [])
    assert END not in boards_table([report])


@pytest.mark.parametrize("name", GATED)
def test_accelerator_fits_and_meets_timing_as_recorded(name: str, tmp_path) -> None:
    item = board(name)
    made = kept(build(item, preset(item.array), tmp_path).as_dict())
    stored = json.loads((REPORTS / f"{name}.json").read_text())
    changed = {
        kind: (was, made["resources"][kind])
        for kind, was in stored["resources"].items()
        if abs(made["resources"][kind] - was) > TOLERANCE * was
    }
    update = f"if it is meant: python -m benchmarks.board_reports {name}"
    assert not changed, f"{name} takes (before, now) {changed}; {update}"
    assert made["demo"]["cycles"] == stored["demo"]["cycles"], update
