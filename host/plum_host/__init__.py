"""Host side of plum accelerators: everything that talks to a device, on NumPy alone.

from plum_host import Bundle, Session

bundle = Bundle.load("network.plum")
with Session.open("/dev/ttyUSB1") as session:
session.load(bundle)
result = session.run(images)
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

#: Loaded when first used: the protocol's numbers can be had without the transports.
_PLACES = {
    "Bundle": "plum_host.bundle",
    "PlumHostError": "plum_host.errors",
    "RunResult": "plum_host.session",
    "Session": "plum_host.session",
    "load_images": "plum_host.images",
}

__all__ = ["Bundle", "PlumHostError", "RunResult", "Session", "load_images"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
