"""The plots of the study (matplotlib, no display needed)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "signed-binary": "#0b6e99",
    "signed-binary-published": "#7fb8d1",
    "binary": "#c2571a",
    "ternary": "#4f8a3c",
    "full": "#777777",
}
_LINES = ("-", "--", ":", "-.")
LEAST_POINTS = 2.0
"""Percentage points that an axis of accuracies spans at least, or chance would look large."""
_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9,
    "figure.dpi": 120,
    "savefig.bbox": "tight",
    "legend.frameon": False,
}


def colour(scheme: str) -> str:
    """The colour of a scheme, the same in every plot."""
    return COLOURS.get(scheme, "#8e5ea2")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path)
    plt.close(figure)


def pareto(
    points: Sequence[dict[str, Any]], path: Path, levels: dict[str, dict[str, Any]] | None = None
) -> None:
    """Accuracy against adds per image, one panel for each set of networks that compare.

    Points have `set`, `scheme`, `label`, `adds`, `top1`, and `offset_adds` (None: no such way);
    levels, networks in full precision, which multiply: name -> `set`, `top1`.
    """
    sets = list(dict.fromkeys(point["set"] for point in points))
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            1, len(sets), figsize=(5.2 * len(sets), 4), squeeze=False, layout="constrained"
        )
        for axis, name in zip(axes[0], sets, strict=True):
            named: set[str] = set()
            for point in (p for p in points if p["set"] == name):
                scheme = point["scheme"]
                label = None if scheme in named else scheme
                named.add(scheme)
                x = point["adds"] / 1e6
                axis.scatter(x, point["top1"], color=colour(scheme), label=label, zorder=3)
                if point["offset_adds"] is not None:
                    other = point["offset_adds"] / 1e6
                    axis.plot([other, x], [point["top1"]] * 2, color=colour(scheme), lw=0.8)
                    axis.scatter(
                        other,
                        point["top1"],
                        facecolors="white",
                        edgecolors=colour(scheme),
                        label=None if f"{scheme}*" in named else f"{scheme}, offset trick",
                        zorder=3,
                    )
                    named.add(f"{scheme}*")
                if point["label"]:
                    axis.annotate(
                        point["label"],
                        (x, point["top1"]),
                        textcoords="offset points",
                        xytext=(5, 4),
                        fontsize=6.5,
                    )
            for label, level in (levels or {}).items():
                if level["set"] == name:
                    axis.axhline(level["top1"], color=colour("full"), lw=0.8, ls="--")
                    axis.annotate(
                        label,
                        (1, level["top1"]),
                        xycoords=("axes fraction", "data"),
                        textcoords="offset points",
                        xytext=(0, 2),
                        ha="right",
                        fontsize=6.5,
                    )
            axis.set_title(name)
            axis.set_xlabel("adds an image in the layers that take the scheme, millions")
            axis.set_ylabel("top-1, %")
            axis.set_xlim(0, axis.get_xlim()[1] * 1.15)
            axis.margins(y=0.15)
            low, high = axis.get_ylim()
            room = max(0.0, LEAST_POINTS - (high - low)) / 2
            axis.set_ylim(low - room, high + room)
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, fontsize=7)
        _save(figure, path)


def density(layers: dict[str, dict[str, float]], path: Path) -> None:
    """Share of effectual weights of each layer; layers: network -> layer -> density."""
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(layers), 1, figsize=(7, 0.6 + 2 * len(layers)), squeeze=False, layout="constrained"
        )
        for axis, (network, shares) in zip(axes[:, 0], layers.items(), strict=True):
            axis.bar(list(shares), list(shares.values()), color=COLOURS["signed-binary"], width=0.6)
            for place, share in enumerate(shares.values()):
                axis.text(place, share / 2, f"{share:.2f}", ha="center", fontsize=7, color="white")
            axis.axhline(1 / 2.8, color="#c2571a", lw=0.8, ls="--", label="1/2.8, as in PLUM")
            axis.legend(fontsize=7, loc="upper right")
            axis.set_ylim(0, max(0.5, *shares.values()) * 1.1)
            axis.set_ylabel("effectual weights")
            axis.set_title(network, loc="left")
            axis.tick_params(axis="x", rotation=20 if len(shares) < 12 else 90)
            axis.grid(visible=False, axis="x")
        _save(figure, path)


def latent(network: str, layers: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Histograms of latent weights with the part that is effectual."""
    columns = min(3, len(layers))
    rows = -(-len(layers) // columns)
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(3.2 * columns, 2.1 * rows), squeeze=False, layout="constrained"
        )
        for axis in axes.ravel()[len(layers) :]:
            axis.axis("off")
        for axis, (name, values) in zip(axes.ravel(), layers.items(), strict=False):
            edges = values["edges"]
            axis.stairs(values["all"], edges, color="#bbbbbb", fill=True, label="all")
            axis.stairs(
                values["effectual"],
                edges,
                color=COLOURS["signed-binary"],
                fill=True,
                label="effectual",
            )
            share = sum(values["effectual"]) / max(sum(values["all"]), 1)
            axis.set_title(f"{name}: {share:.0%}", fontsize=8)
            axis.set_yticks([])
        axes[0, 0].legend(fontsize=7)
        figure.suptitle(f"{network}: latent weights, largest of the layer = 1", fontsize=9)
        _save(figure, path)


def repetition(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Patterns per chunk and adds per weight against T; curves: label -> one entry for each T."""
    with plt.rc_context(_STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
        drawn: Counter[str] = Counter()
        for label, entries in curves.items():
            shade = colour(label.rpartition(" ")[2])
            line = _LINES[drawn[shade] % len(_LINES)]  # networks of one scheme: one colour
            drawn[shade] += 1
            groups = [entry["group"] for entry in entries]
            for axis, key in ((left, "patterns"), (right, "adds")):
                axis.plot(
                    *(groups, [e[key] for e in entries]),
                    **{"marker": "o", "ms": 3, "ls": line, "color": shade, "label": label},
                )
        left.set_yscale("log", base=2)
        left.set_ylabel("different patterns in a chunk, among the filters")
        right.set_ylabel("adds a weight")
        right.set_ylim(bottom=0)
        for axis in (left, right):
            axis.set_xlabel("weights in a chunk, T")
            axis.legend(fontsize=6.5)
        _save(figure, path)


def ablations(rows: Sequence[dict[str, Any]], path: Path, subtitle: str) -> None:
    """Top-1 and density for each value of each option, the rest as in the base."""
    options = list(dict.fromkeys(row["option"] for row in rows))
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            2,
            len(options),
            figsize=(2.1 * len(options), 4.2),
            squeeze=False,
            sharex="col",
            sharey="row",
            layout="constrained",
        )
        for column, option in enumerate(options):
            chosen = [row for row in rows if row["option"] == option]
            names = [str(row["value"]) for row in chosen]
            for axis, key, shade in (
                (axes[0, column], "top1", "#0b6e99"),
                (axes[1, column], "density", "#999999"),
            ):
                axis.plot(names, [row[key] for row in chosen], "o", color=shade)
                axis.margins(x=0.3)
            for label in axes[1, column].get_xticklabels():
                label.set(rotation=35, ha="right", rotation_mode="anchor", fontsize=7)
            axes[0, column].set_title(option, fontsize=9)
        axes[0, 0].set_ylabel("top-1, %")
        axes[1, 0].set_ylabel("effectual weights")
        axes[1, 0].set_ylim(0, 1.05)
        figure.suptitle(subtitle, fontsize=8)
        _save(figure, path)
