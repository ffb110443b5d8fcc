"""Batches: dense networks on several inputs at a time, so that lanes have work.

Lanes hold pixels, and the input of a dense network is one pixel: one lane of each vector. But what
such a network does to one input it does to all, so a batch of inputs is a map whose pixels they
are, and a dense layer a 1x1 convolution. A batch of as many inputs as there are lanes takes the
cycles of one.
"""

from __future__ import annotations

import dataclasses

from plum_hw.errors import ConfigError
from plum_hw.ir import Add, Conv, Dense, InputSpec, Layer, Network, Shape

from .problems import Refusal

#: Largest batch: more would only be bytes on their way.
MAX_BATCH = 4096


def batch_shape(batch: int, lanes: int) -> tuple[int, int]:
    """Rows and columns of the map of a batch: as long rows as the lanes can hold.

    Raises `ConfigError` for a number that fills no map.
    """
    if not 1 <= batch <= MAX_BATCH or (batch > lanes and batch % lanes):
        raise ConfigError(
            f"--batch {batch}: it must be 1 to {lanes}, the array's lanes, or a multiple of that "
            f"up to {MAX_BATCH}"
        )
    return -(-batch // lanes), min(batch, lanes)


def batched(network: Network, batch: int, lanes: int) -> Network:
    """The network for a batch of inputs: input n is the pixel (n div columns, n mod columns).

    Raises `Refusal` where a layer sees more than one pixel, or gives logits, `ConfigError` for a
    number that fills no map.
    """
    rows, columns = batch_shape(batch, lanes)
    if network.input.shape[1:] != (1, 1):
        raise Refusal(
            network.input.name,
            f"an input has {network.input.shape[1]}x{network.input.shape[2]} pixels; inputs of a "
            "batch have one",
            "compile it without --batch",
        )
    shape: Shape = (network.input.shape[0], rows, columns)
    return Network(
        name=network.name,
        input=InputSpec(name=network.input.name, shape=shape, bits=network.input.bits),
        layers=tuple(_layer(layer) for layer in network.layers),
        output=network.output,
        labels=network.labels,
    )


def _layer(layer: Layer) -> Layer:
    """The same for every pixel."""
    if isinstance(layer, Dense) and not layer.requant.is_logits:
        return Conv(
            name=layer.name,
            inputs=layer.inputs,
            weight=layer.weight[:, :, None, None],
            scheme=layer.scheme,
            weight_bits=layer.weight_bits,
            requant=layer.requant,
        )
    if isinstance(layer, Add):
        return layer
    if isinstance(layer, Conv) and (layer.kernel, layer.padding) == ((1, 1), (0, 0)):
        return dataclasses.replace(layer, stride=1)
    raise Refusal(
        layer.name,
        "gives logits" if isinstance(layer, Dense) else f"{layer.op} sees more than one pixel",
        "batches take dense layers that give activations, 1x1 convolutions and additions",
    )
