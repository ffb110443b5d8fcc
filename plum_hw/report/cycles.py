"""Cycles of a bundle's layers: predicted, and beside them what a device counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from plum_host.bundle import Bundle

_KEYS = (
    "name",
    "op",
    "cycles",
    "beats",
    "macs",
    "density",
    "group",
    "split",
    "lane_use",
    "bound_by",
)


def layers_report(bundle: Bundle, counted: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """One entry a layer; `counted` adds the cycles that a device counted."""
    layers = [
        {
            **{key: layer[key] for key in _KEYS},
            "stalls": {"drain": layer["drain_stalls"], "emitter": layer["emit_stalls"]},
        }
        for layer in bundle.manifest["layers"]
    ]
    for layer, cycles in zip(layers, counted or (), strict=False):
        layer["simulated_cycles"] = int(cycles)
    return layers


def cycles_report(bundle: Bundle) -> dict[str, Any]:
    """The prediction, layer by layer."""
    manifest = bundle.manifest
    return {
        "network": manifest["network"]["name"],
        "array": manifest["config"]["name"],
        "clusters": manifest["config"]["clusters"],
        "parts": len(bundle.parts),
        "batch": bundle.batch,
        "predicted_cycles": manifest["predicted_cycles"],
        "layers": layers_report(bundle),
    }


def layer_row(layer: dict[str, Any]) -> dict[str, str]:
    """A layer's figures as text, by heading."""
    rows, filters = layer["split"]
    return {
        "cycles": f"{layer['cycles']:,}",
        "beats": f"{layer['beats']:,}",
        "density": "-" if layer["density"] is None else f"{layer['density']:.3f}",
        "T": str(layer["group"]),
        "RxF": f"{rows}x{filters}",
        "lanes": f"{100 * layer['lane_use']:.0f} %",
        "stalls": f"{layer['stalls']['drain']:,}+{layer['stalls']['emitter']:,}",
        "bound by": layer["bound_by"],
    }


def cycles_table(bundle: Bundle) -> Table:
    """The prediction as a table of at most 80 columns, unless layers have long names.

    Stalls, by drain and emitter, are summed over the clusters.
    """
    report = cycles_report(bundle)
    layers, total = report["layers"], report["predicted_cycles"]
    macs = sum(layer["macs"] for layer in layers)
    of = "" if bundle.batch == 1 else f" for {bundle.batch} inputs"
    title = f"{report['network']} on {report['array']}, {macs:,} MAC{of}"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("layer", overflow="fold")
    headings = ("cycles", "share", "density", "T", "RxF", "lanes", "stalls")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("bound by", no_wrap=True)
    for layer in layers:
        share = f"{100 * layer['cycles'] / max(1, total):.0f} %"
        row = {**layer_row(layer), "share": share, "stalls": f"{sum(layer['stalls'].values()):,}"}
        table.add_row(layer["name"], *(row[heading] for heading in (*headings, "bound by")))
    table.add_section()
    table.add_row("all layers", f"{total:,}", style="bold")
    return table
