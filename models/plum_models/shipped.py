"""The trained networks that come with the package, each with its measured figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plum_models.errors import ModelError

SHIPPED = Path(__file__).parent / "checkpoints"


def entries() -> dict[tuple[str, str], dict[str, Any]]:
    """What was measured of each, by network and scheme label."""
    found = {}
    for path in sorted(SHIPPED.glob("*.json")):
        entry = json.loads(path.read_text(encoding="utf-8"))
        found[entry["network"], entry["scheme"]] = {**entry, "file": path.stem}
    return found


def shipped(network: str, scheme: str) -> Path:
    """The checkpoint of a shipped network. Raises `ModelError` with those there are."""
    found = entries()
    try:
        name = found[network, scheme.replace("_", "-")]["file"]
    except KeyError:
        there = ", ".join(f"{name} in {each}" for name, each in found)
        raise ModelError(
            f"no trained network {network!r} in scheme {scheme!r} is shipped; there are {there}; "
            "name a file with --checkpoint"
        ) from None
    return SHIPPED / f"{name}.safetensors"
