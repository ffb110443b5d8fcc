"""`python -m plum_models.table`: the tables of models/README.md anew, from the shipped networks.

Accuracies and densities are those of NAME.json (`plum_models.publish` measured them); effectual
weights and adds are counted in the checkpoints.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from plum_models.checkpoint import load_checkpoint
from plum_models.shipped import SHIPPED, entries
from plum_models.study_measure import costs

README = Path(__file__).parents[1] / "README.md"
_COMMAND = "python -m plum_models.table"
_LABELS = {
    "full": "full precision",
    "signed-binary": "signed binary, learned offset",
    "signed-binary-published": "signed binary as published",
}


def _markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns whose heading begins with a blank are aligned to the right."""
    marks = ["---:" if heading.startswith(" ") else "---" for heading in headings]
    lines = [[heading.strip() for heading in headings], marks, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _start(entry: dict[str, Any]) -> str:
    return f" from `{entry['start']}`" if entry.get("start") else ""


def measured(found: Iterable[dict[str, Any]]) -> str:
    """One row for each network: what it is, how it was trained, how good it is."""
    rows = []
    for entry in found:
        full = entry["scheme"] == "full"
        layers = (
            [] if full else costs(load_checkpoint(SHIPPED / f"{entry['file']}.safetensors").build())
        )
        effectual = sum(layer.effectual for layer in layers)
        adds = sum(layer.adds for layer in layers)
        rows.append(
            (
                f"`{entry['file']}`",
                _LABELS.get(entry["scheme"], entry["scheme"]),
                "float" if full else str(entry["activation_bits"]),
                f"{entry['epochs']}{_start(entry)}",
                str(entry["seed"]),
                "1" if full else f"{entry['density']:.3f}",
                "-" if full else f"{effectual:,}",
                "-" if full else f"{adds / 1e6:.2f} M",
                f"{entry['float_top1']:.2f} %",
                "-" if full else f"**{entry['integer_top1']:.2f} %**",
            )
        )
    return _markdown(
        (
            *("network", "weights", " activation bits", " epochs", " seed", " density"),
            *(" effectual weights", " adds an image", " float top-1", " integer top-1"),
        ),
        rows,
    )


def layers(found: Iterable[dict[str, Any]]) -> str:
    """Density of each layer of the signed-binary networks."""
    rows = []
    for entry in found:
        if entry["scheme"].startswith("signed-binary"):
            shares = ", ".join(f"{key} {value:.3f}" for key, value in entry["densities"].items())
            rows.append((f"`{entry['file']}`", shares))
    return _markdown(("network", "density by layer"), rows)


def tables() -> dict[str, str]:
    """Each table by the name of its mark: one for each data set, and that of the layers."""
    found = sorted(entries().values(), key=lambda entry: (entry["data"], entry["file"]))
    titles = sorted({entry["data"] for entry in found})
    parts = {title: measured(e for e in found if e["data"] == title) for title in titles}
    return parts | {"layers": layers(found)}


def with_tables(text: str, parts: dict[str, str]) -> str:
    """The text with each table between its marks. Raises ValueError where a mark is missing."""
    for name, table in parts.items():
        begin, end = f"<!-- {name}: {_COMMAND} -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, mark, after = rest.partition(end)
        if not mark:
            raise ValueError(f"the README lacks the lines {begin!r} and {end!r}")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def main() -> None:
    """Entry point."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    README.write_text(with_tables(README.read_text(encoding="utf-8"), tables()), encoding="utf-8")


if __name__ == "__main__":
    main()
