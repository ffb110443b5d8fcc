"""`python -m benchmarks.controller [BOARD[:ARRAY] ...]`: what a controller adds to an array.

Builds each board that is named twice, without and with `--soc`, as `plum build` does, keeps both
reports in benchmarks/boards/soc/, and writes the table of docs/firmware.md anew; with none named
only the table. Parts that open tools place and route are placed and routed, of the others resources
are those of open synthesis.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarks.board_reports import REPORTS, ROOT, kept
from benchmarks.markdown import between_marks, table
from plum_hw import console
from plum_hw.boards import board as find_board
from plum_hw.build import PlaceOptions, build
from plum_hw.errors import PlumError
from plum_hw.presets import preset
from plum_hw.soc.firmware import App

STORED = REPORTS / "soc"
PAGE = ROOT / "docs" / "firmware.md"
BEGIN, END = "<!-- resources: python -m benchmarks.controller -->", "<!-- end of resources -->"


def load_pairs(folder: Path = STORED) -> list[dict[str, Any]]:
    """The stored pairs: reports ``without`` a controller and ``with`` one."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def resources_table(pairs: list[dict[str, Any]]) -> str:
    """Two rows for each pair."""
    rows = []
    for pair in pairs:
        for name in ("without", "with"):
            item = pair[name]
            used, units = item["resources"], item["units"]
            fmax = item["fmax_mhz"]
            rows.append(
                (
                    f"`{item['board']}`, {item['part']}",
                    f"`{item['array']}`, {item['clusters']} x {item['lanes']}",
                    "link" if name == "without" else "controller",
                    *(f"{used[kind]:,g} {units[kind]}" for kind in ("lut", "ff", "ram", "dsp")),
                    "-" if fmax is None else f"{fmax:.1f} ({item['clock_mhz']:g} asked)",
                )
            )
    headings = ("board", "array, clusters x lanes", "beside it")
    return table((*headings, " LUT", " FF", " RAM", " DSP", " placed and routed, MHz"), rows)


def write_page(text: str, pairs: list[dict[str, Any]]) -> str:
    """The page's text with the table between its marks."""
    return between_marks(text, BEGIN, END, resources_table(pairs))


def record(name: str, array: str, options: PlaceOptions) -> None:
    """Build a board without and with a controller, and store both reports."""
    board = find_board(name)
    board = dataclasses.replace(board, clock_hz=board.clock_of(soc=True))
    config = preset(array or board.preset_name(soc=True))
    pair = {}
    for kind, soc in (("without", None), ("with", App.STANDALONE)):
        title = f"{board.name}, {kind} a controller"
        with console.Activity() as activity:

            def show(text: str, title: str = title, activity: Any = activity) -> None:
                activity.step(f"{title}: {text}")

            report = build(
                board,
                config,
                ROOT / "build" / f"{board.name}-{config.name}-{kind}",
                blocks=False,
                options=options,
                soc=soc,
                progress=show,
            )
        pair[kind] = kept(report.as_dict())
    STORED.mkdir(parents=True, exist_ok=True)
    target = STORED / f"{board.name}-{config.name}.json"
    target.write_text(json.dumps(pair, indent=2) + "\n")
    console.say(f"wrote {target.relative_to(ROOT)}")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("boards", nargs="*", metavar="BOARD[:ARRAY]")
    parser.add_argument("--tries", type=int, default=1, help="seeds that are tried")
    words = parser.parse_args()
    try:
        for item in words.boards:
            name, _, array = item.partition(":")
            record(name, array, PlaceOptions(tries=words.tries))
    except PlumError as error:
        raise SystemExit(f"benchmarks.controller: error: {error}") from None
    PAGE.write_text(write_page(PAGE.read_text(), load_pairs()))


if __name__ == "__main__":
    main()
