"""Cycles of a bundle's layers: predicted, and beside them what a device counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from plum_host.bundle import Bundle

_KEYS = ("name", "op", "cycles", "beats", "macs", "density", "group", "lane_use", "bound_by")


def layers_report(bundle: Bundle, counted: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """One entry a layer; `counted` adds the cycles that a device counted."""
    layers = [{key: layer[key] for key in _KEYS} for layer in bundle.manifest["layers"]]
    for layer, cycles in zip(layers, counted or (), strict=False):
        layer["simulated_cycles"] = int(cycles)
    return layers


def cycles_report(bundle: Bundle) -> dict[str, Any]:
    """The prediction, layer by layer."""
    manifest = bundle.manifest
    return {
        "network": manifest["network"]["name"],
        "array": manifest["config"]["name"],
        "predicted_cycles": manifest["predicted_cycles"],
        "layers": layers_report(bundle),
    }


def cycles_table(bundle: Bundle) -> Table:
    """The prediction as a table of at most 80 columns, unless layers have long names."""
    report = cycles_report(bundle)
    layers, total = report["layers"], report["predicted_cycles"]
    title = f"{report['network']} on {report['array']}"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", overflow="fold")
    for heading in ("cycles", "share", "kMAC", "density", "T", "lanes"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("bound by", no_wrap=True)
    for layer in layers:
        table.add_row(
            layer["name"],
            f"{layer['cycles']:,}",
            f"{100 * layer['cycles'] / max(1, total):.0f} %",
            f"{layer['macs'] / 1000:,.1f}",
            "-" if layer["density"] is None else f"{layer['density']:.3f}",
            str(layer["group"]),
            f"{100 * layer['lane_use']:.0f} %",
            layer["bound_by"],
        )
    table.add_section()
    macs = sum(layer["macs"] for layer in layers)
    table.add_row("all layers", f"{total:,}", "", f"{macs / 1000:,.1f}", style="bold")
    return table
