"""`python -m benchmarks.resources [ARRAY ...]`: benchmarks/resources.json, resources by synthesis.

Builds the project of the Arty A7-35T as `plum build --board arty --array ARRAY` does, with all
arrays that have a bar unless some are named, and keeps the counts of open synthesis: of the whole
design with its link, of one cluster, and of its blocks. Some minutes an array.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from plum_hw import console
from plum_hw.boards import board as find_board
from plum_hw.build import build
from plum_hw.errors import PlumError
from plum_hw.presets import PRESETS, preset

ROOT = Path(__file__).resolve().parent.parent
RESOURCES = ROOT / "benchmarks" / "resources.json"
BOARD = "arty"
ARRAYS = ("cluster", "arty-a7-35t")
_KEPT = ("part", "array", "digest", "resources", "capacity", "units", "blocks", "tools")


def load_resources(path: Path = RESOURCES) -> dict[str, dict[str, Any]]:
    """The stored counts by array, without those of arrays that have changed since."""
    stored: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return {
        name: found
        for name, found in stored.items()
        if name in PRESETS and PRESETS[name].digest == found["digest"]
    }


def count(array: str) -> dict[str, Any]:
    """What is stored of one array."""
    folder = ROOT / "build" / f"resources-{array}"
    with console.Activity() as activity:
        report = build(
            find_board(BOARD),
            preset(array),
            folder,
            project_only=True,
            progress=lambda text: activity.step(f"{array}: {text}"),
        )
    whole = report.as_dict()
    kept = {key: whole[key] for key in _KEPT}
    kept["blocks"] = {
        name: cost for name, cost in whole["blocks"].items() if name.startswith("cluster")
    }
    return kept


def main() -> None:
    """Count, and write the file and docs/performance.md."""
    from benchmarks.run import write_performance

    parser = argparse.ArgumentParser(prog="benchmarks.resources", description=__doc__)
    parser.add_argument("arrays", nargs="*", metavar="ARRAY", help=f"of {', '.join(ARRAYS)}")
    arrays = parser.parse_args().arrays or list(ARRAYS)
    if unknown := sorted(set(arrays) - set(ARRAYS)):
        parser.error(f"{unknown[0]}: it must be one of {', '.join(ARRAYS)}")
    try:
        for array in arrays:
            counted = count(array)
            # Read as late as this: another may have been counted meanwhile.
            found = load_resources() | {array: counted}
            RESOURCES.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    except PlumError as error:
        raise SystemExit(f"benchmarks.resources: error: {error}") from None
    print(f"wrote {RESOURCES.relative_to(ROOT)}")
    write_performance()


if __name__ == "__main__":
    main()
