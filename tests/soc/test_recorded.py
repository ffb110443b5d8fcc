"""Stored resources without and with a controller, and the table that the page makes of them."""

from __future__ import annotations

import pytest

from benchmarks.controller import END, PAGE, load_pairs, resources_table, write_page
from plum_hw.boards import board


def test_page_shows_the_stored_pairs() -> None:
    text = PAGE.read_text()
    assert write_page(text, load_pairs()) == text, "run: python -m benchmarks.controller"
    with pytest.raises(SystemExit, match="has no lines"):
        write_page("no marks", [])


def test_pairs_are_of_the_same_array() -> None:
    pairs = load_pairs()
    assert pairs
    for pair in pairs:
        without, beside = pair["without"], pair["with"]
        for key in ("board", "part", "array", "digest", "clock_mhz", "tools", "resources_from"):
            assert without[key] == beside[key]
        item = board(beside["board"])
        assert beside["capacity"] == item.capacity.as_dict()
        # The controller has a ROM of 16 KiB and a RAM of 8, and all of a multiplier's work is the
        # array's.
        assert beside["resources"]["ram"] > without["resources"]["ram"]
        assert beside["resources"]["dsp"] == without["resources"]["dsp"]
        for report in (without, beside):
            used, have = report["resources"], report["capacity"]
            assert all(used[kind] <= have[kind] for kind in used)
            assert report["fmax_mhz"] is None or report["fmax_mhz"] >= report["clock_mhz"]
    rows = resources_table(pairs).splitlines()
    assert len(rows) == 2 + 2 * len(pairs)
    assert END not in rows
