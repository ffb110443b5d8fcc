"""Quantized networks as plain integers: layers, shapes, bounds and the network file.

``plum_hw.ir.random`` draws random ones for tests. The format is in ``docs/network-file.md``.
"""

from .file import load_network, loads_network
from .layers import (
    LOGIT_BITS,
    SCHEMES,
    Add,
    AvgPool,
    Conv,
    Dense,
    InputSpec,
    Layer,
    MaxPool,
    Requant,
    RequantLayer,
    Shape,
    WeightLayer,
)
from .network import Bounds, Network

__all__ = [
    "LOGIT_BITS",
    "SCHEMES",
    "Add",
    "AvgPool",
    "Bounds",
    "Conv",
    "Dense",
    "InputSpec",
    "Layer",
    "MaxPool",
    "Network",
    "Requant",
    "RequantLayer",
    "Shape",
    "WeightLayer",
    "load_network",
    "loads_network",
]
