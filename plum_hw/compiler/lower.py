"""Rewrites a network where the array needs a step of its own."""

from __future__ import annotations

import dataclasses

import numpy as np

from plum_hw.config import SHIFTS
from plum_hw.ir import AvgPool, Conv, Dense, Layer, Network, Requant


def lower(network: Network) -> Network:
    """The network as the array runs it.

    A dense layer that sums all lanes writes one lane of one group and nothing else. Where its
    reader needs zeros around that pixel, or more copies, a layer that passes values on follows.
    """
    layers: list[Layer] = []
    renamed: dict[str, str] = {}
    for layer in network.layers:
        inputs = tuple(renamed.get(name, name) for name in layer.inputs)
        layers.append(dataclasses.replace(layer, inputs=inputs))
        if _needs_copy(network, layer):
            copy = _copy(layers[-1], network.shape_of(layer.name)[0], network)
            layers.append(copy)
            renamed[layer.name] = copy.name
    if not renamed:
        return network
    return dataclasses.replace(network, layers=tuple(layers))


def _needs_copy(network: Network, layer: Layer) -> bool:
    if not isinstance(layer, Dense) or layer.requant.is_logits:
        return False
    if network.shape_of(layer.source)[1:] == (1, 1):
        return False
    return not all(_reads_one_lane(reader) for reader in network.consumers(layer.name))


def _reads_one_lane(reader: Layer) -> bool:
    """Whether a layer reads a map of one pixel from that pixel's lane alone."""
    if isinstance(reader, Dense):
        return not reader.requant.is_logits
    return isinstance(reader, Conv) and reader.kernel == (1, 1) and reader.stride == 1


def _copy(layer: Layer, channels: int, network: Network) -> AvgPool:
    """An average over one pixel with scale 1: what passes values on."""
    taken = {network.input.name} | {other.name for other in network.layers}
    name = next(
        name
        for name in (f"{layer.name[:56]}.copy{suffix}" for suffix in ("", *range(1000)))
        if name not in taken
    )
    return AvgPool(
        name=name,
        inputs=(layer.name,),
        kernel=(1, 1),
        stride=1,
        requant=Requant(
            scale=np.full(channels, 1 << SHIFTS[0], np.int32),
            bias=np.zeros(channels, np.int64),
            shift=SHIFTS[0],
            out_bits=network.bits_of(layer.name),
        ),
    )
