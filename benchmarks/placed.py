"""Milliseconds at clocks that place and route gave: one JSON object a build in benchmarks/boards.

The reports of `plum build`; of them ``board``, ``part``, ``array``, ``digest`` of the array,
``clusters``, ``clock_mhz`` asked for and ``fmax_mhz`` placed and routed (null: not placed).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plum_hw.presets import PRESETS

#: Networks whose milliseconds are given, as far as the array has results.
NETWORKS = ("resnet20", "resnet8", "fashion", "dscnn", "mobilenet025", "vgg-small", "resnet18")
HEADINGS = (
    "board",
    "part",
    "array",
    " clusters",
    " MHz asked",
    " MHz placed and routed",
    "network",
    " cycles",
    " ms at that clock",
)


def load_boards(folder: Path) -> list[dict[str, Any]]:
    """The builds of a folder, by file name; none where there is no folder."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def placed_rows(
    cycles: dict[tuple[str, str], int], boards: list[dict[str, Any]]
) -> list[tuple[str, ...]]:
    """Rows of the table: every network at the clock of every build of an array as it is now.

    cycles : of an image, by network and array

    Left out are builds that were not placed, and those of an array whose configuration has changed
    since: its clock is another's.
    """
    rows: list[tuple[str, ...]] = []
    for board in boards:
        config = PRESETS.get(board["array"])
        fmax = board["fmax_mhz"]
        if fmax is None or config is None or config.digest != board["digest"]:
            continue
        clock, asked = float(fmax), float(board["clock_mhz"])
        for network in NETWORKS:
            count = cycles.get((network, board["array"]))
            if count is None:
                continue
            rows.append(
                (
                    board["board"],
                    board["part"],
                    board["array"],
                    str(board["clusters"]),
                    f"{asked:g}",
                    f"{clock:.1f}",
                    network,
                    f"{count:,}",
                    f"{count / clock / 1000:.3f}",
                )
            )
    return rows
