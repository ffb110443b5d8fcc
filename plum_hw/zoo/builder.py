"""Builds a network layer by layer; requantization follows from what sample images give."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_hw.ir import (
    LOGIT_BITS,
    Conv,
    Dense,
    InputSpec,
    Layer,
    MaxPool,
    Network,
    Requant,
    Shape,
    WeightLayer,
)
from plum_hw.ir.samples import MAX_FACTOR, SHIFTS, accumulate, draw_images, evaluate

from .weights import Drawn, Options, draw_weights, generator

#: Sample images that the constants follow from, at least and at most, and pixels that suffice.
_SAMPLES = (2, 16)
_PIXELS = 2048
#: Black and white images come first and are left out.
_EXTREMES = 2
#: Standard deviation and mean of outputs before the clamp, as shares of their range: about one in
#: twelve is clamped to zero and almost none to the largest value.
_SPREAD, _CENTRE = 0.2, 0.3
#: Share of a residual's value that is added.
_RESIDUAL = 0.5


class Builder:
    """A network being built.

    *Parameters*: ``name``; ``shape`` (C, H, W) of the 8-bit image; ``options``.

    Methods that append a layer return its name. ``scheme`` None takes that of the options.
    """

    def __init__(self, name: str, shape: Shape, options: Options) -> None:
        self.name = name
        self.options = options
        self.input = InputSpec(name="image", shape=shape, bits=8)
        self.layers: list[Layer] = []
        rng = generator(options.seed, "image")
        count = min(max(_PIXELS // (shape[1] * shape[2]), _SAMPLES[0]), _SAMPLES[1])
        images = draw_images(self.input, _EXTREMES + count, rng)[_EXTREMES:]
        #: For each tensor its values for the samples, [C, N, H, W].
        self.values: dict[str, NDArray[np.uint8]] = {"image": images.swapaxes(0, 1)}
        self.bits = {"image": 8}

    def network(self) -> Network:
        """The network; the last layer is its output."""
        return Network(
            name=self.name,
            input=self.input,
            layers=tuple(self.layers),
            output=self.layers[-1].name,
        )

    def channels(self, name: str) -> int:
        """Channels of a tensor."""
        return int(self.values[name].shape[0])

    # ---- layers ----------------------------------------------------------------------------------

    def conv(
        self,
        name: str,
        source: str,
        filters: int,
        kernel: tuple[int, int] = (3, 3),
        *,
        stride: int = 1,
        padding: tuple[int, int] | None = None,
        residual: str | None = None,
        depthwise: bool = False,
        scheme: str | None = None,
        signed: bool = False,
    ) -> str:
        """A convolution, with 'same' padding by default.

        ``signed``: its real values may be negative, which a trained network stores with a zero
        point; the constants made here come from samples and need no mark.
        """
        channels = self.values[source].shape[0]
        shape = (filters, 1 if depthwise else channels, *kernel)
        drawn = self._draw(name, shape, scheme)
        common: dict[str, Any] = {
            "stride": stride,
            "padding": padding or ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2),
            "groups": channels if depthwise else 1,
        }
        return self._weights(Conv, name, source, residual, drawn, common)

    def dense(self, name: str, source: str, filters: int, *, scheme: str | None = None) -> str:
        """A dense layer whose outputs are activations."""
        drawn = self._draw(name, (filters, self.values[source].shape[0]), scheme)
        return self._weights(Dense, name, source, None, drawn, {})

    def logits(self, name: str, source: str, classes: int) -> str:
        """The classifier after a global sum pool, 8-bit weights."""
        drawn = self._draw(name, (classes, self.values[source].shape[0]), "int8")
        x = self.values[source]
        worst = x[:, 0].size * 255 * 127
        scale = np.full(classes, max(1, min(64, (1 << 29) // worst)), np.int32)
        common: dict[str, Any] = {
            "name": name,
            "inputs": (source,),
            "weight": drawn.weight,
            "scheme": drawn.scheme,
            "weight_bits": drawn.bits,
        }
        probe = Dense(requant=_placeholder(classes, residual=False), **common)
        mean = accumulate(probe, x)[0].reshape(classes, -1).mean(axis=1)
        bias = -np.rint(mean).astype(np.int64) * scale
        requant = Requant(scale=scale, bias=bias, shift=0, out_bits=LOGIT_BITS)
        self.layers.append(Dense(requant=requant, **common))
        self.bits[name] = LOGIT_BITS
        return name

    def maxpool(self, name: str, source: str, kernel: int = 2, padding: int = 0) -> str:
        """The largest of a square of pixels, with stride 2."""
        layer = MaxPool(
            name=name,
            inputs=(source,),
            kernel=(kernel, kernel),
            stride=2,
            padding=(padding, padding),
        )
        return self._append(layer, self.bits[source], None)

    # ---- parts -----------------------------------------------------------------------------------

    def _draw(self, name: str, shape: tuple[int, ...], scheme: str | None) -> Drawn:
        options = self.options
        rng = generator(options.seed, name)
        return draw_weights(rng, shape, scheme or options.scheme, options.density)

    def _weights(
        self,
        kind: type[Conv | Dense],
        name: str,
        source: str,
        residual: str | None,
        drawn: Drawn,
        common: dict[str, Any],
    ) -> str:
        common = {
            "name": name,
            "inputs": (source,) if residual is None else (source, residual),
            "weight": drawn.weight,
            "scheme": drawn.scheme,
            "weight_bits": drawn.bits,
            **common,
        }
        filters = len(drawn.weight)
        probe = kind(requant=_placeholder(filters, residual=residual is not None), **common)
        requant = self._requant(probe, drawn.offset)
        return self._append(kind(requant=requant, **common), self.options.act_bits, residual)

    def _append(self, layer: Layer, bits: int, residual: str | None) -> str:
        other = None if residual is None else self.values[residual]
        self.values[layer.name] = evaluate(layer, self.values[layer.source], other)
        self.layers.append(layer)
        self.bits[layer.name] = bits
        return layer.name

    def _requant(self, probe: WeightLayer, offset: bool) -> Requant:
        """Constants that spread the outputs of ``probe`` (any constants in it) over their range.

        offset : see `Drawn`; the constants make it the function of the +-1 weights
        """
        acc, total = accumulate(probe, self.values[probe.source])
        if offset:
            acc = 2 * acc - total
        acc = acc.reshape(probe.filters, -1)
        span = 1 << self.options.act_bits
        gain = _SPREAD * span / np.maximum(acc.std(axis=1), 1e-3)
        ratio = 0.0
        other = probe.residual_source
        if other is not None:
            ratio = _RESIDUAL * span / (1 << self.bits[other])
        # Twice the scale must fit as well, so that both ways to store +-1 have the same constants.
        largest = max(float(gain.max()), ratio) * 2
        shift = max((s for s in SHIFTS if largest * 2.0**s <= MAX_FACTOR), default=SHIFTS[0])
        unit = 2.0**shift
        scale = np.clip(np.rint(gain * unit), 1, MAX_FACTOR // 2).astype(np.int64)
        mean = scale * acc.mean(axis=1)
        factor = None
        if other is not None:
            factor = np.full(probe.filters, round(ratio * unit), np.int32)
            values = self.values[other].reshape(probe.filters, -1).astype(np.float64)
            mean = mean + factor * values.mean(axis=1)
        return Requant(
            scale=(2 * scale if offset else scale).astype(np.int32),
            bias=np.rint(_CENTRE * span * unit - mean).astype(np.int64),
            window=(-scale).astype(np.int32) if offset else None,
            residual=factor,
            shift=shift,
            out_bits=self.options.act_bits,
        )


def _placeholder(channels: int, *, residual: bool) -> Requant:
    """Any constants: those of a layer whose accumulators are still to be looked at."""
    ones = np.ones(channels, np.int32)
    return Requant(
        scale=ones,
        bias=np.zeros(channels, np.int64),
        residual=ones if residual else None,
        shift=SHIFTS[0],
        out_bits=8,
    )
