"""`python -m benchmarks.board_reports [BOARD ...]`: benchmarks/boards/*.json, README's table anew.

Builds the boards that are named, each as `plum build` does, and keeps what was measured; with none
named only the table is written. An Artix-7 part is synthesised only, so it has no frequency.
Nothing in a report depends on the machine or the time: equal inputs, tools and seed give an equal
file. Place and route of a large array takes from minutes to an hour.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.markdown import between_marks, table
from plum_hw import console
from plum_hw.boards import board as find_board
from plum_hw.build import PlaceOptions, build
from plum_hw.errors import PlumError
from plum_hw.presets import preset

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "benchmarks" / "boards"
README = ROOT / "README.md"
BEGIN, END = "<!-- boards: python -m benchmarks.board_reports -->", "<!-- end of boards -->"
_KEPT = (
    "board",
    "title",
    "part",
    "array",
    "digest",
    "clusters",
    "lanes",
    "clock_mhz",
    "fmax_mhz",
    "resources",
    "capacity",
    "units",
    "resources_from",
    "bound",
    "seed",
    "tools",
    "demo",
)


def kept(report: dict[str, Any]) -> dict[str, Any]:
    """What of a build's report is stored: nothing that a folder or a machine decides."""
    return {key: report[key] for key in _KEPT}


def load_reports(folder: Path = REPORTS) -> list[dict[str, Any]]:
    """The stored reports, by board."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def boards_table(reports: list[dict[str, Any]]) -> str:
    """The boards as README shows them."""
    rows = []
    for item in reports:
        used, units, demo = item["resources"], item["units"], item["demo"]
        share = {kind: used[kind] / item["capacity"][kind] for kind in used}
        fmax = "-" if item["fmax_mhz"] is None else f"{item['fmax_mhz']:.1f}"
        rows.append(
            (
                f"`{item['board']}`",
                item["part"],
                f"{item['clusters']} x {item['lanes']}",
                *(
                    f"{used[kind]:,g} {units[kind]} ({100 * share[kind]:.0f} %)"
                    for kind in ("lut", "ram", "dsp")
                ),
                f"{item['clock_mhz']:g}",
                fmax,
                "-" if demo["cycles"] is None else f"{demo['cycles']:,}",
                "-" if demo["cycles"] is None else f"{demo['frames_per_second']:,.0f}",
            )
        )
    headings = ("board", "part", "array", " LUT", " RAM", " DSP", " MHz", " Fmax", " cycles")
    return table((*headings, " images/s"), rows)


def write_readme(text: str, reports: list[dict[str, Any]]) -> str:
    """The README's text with the table between its marks."""
    return between_marks(text, BEGIN, END, boards_table(reports))


def record(name: str, options: PlaceOptions) -> None:
    """Build a board and store its report."""
    board = find_board(name)
    with console.Activity() as activity:
        report = build(
            board,
            preset(board.array),
            ROOT / "build" / board.name,
            blocks=False,
            options=options,
            progress=lambda text: activity.step(f"{board.name}: {text}"),
        )
    REPORTS.mkdir(exist_ok=True)
    target = REPORTS / f"{board.name}.json"
    target.write_text(json.dumps(kept(report.as_dict()), indent=2) + "\n")
    console.say(f"wrote {target.relative_to(ROOT)}")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("boards", nargs="*", metavar="BOARD")
    parser.add_argument("--tries", type=int, default=1, help="seeds that are tried")
    words = parser.parse_args()
    try:
        for name in words.boards:
            record(name, PlaceOptions(tries=words.tries))
    except PlumError as error:
        raise SystemExit(f"benchmarks.board_reports: error: {error}") from None
    README.write_text(write_readme(README.read_text(), load_reports()))


if __name__ == "__main__":
    main()
