"""A quantized network: layers in topological order, checked as a whole."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plum_hw.errors import NetworkError

from . import limits
from .layers import AvgPool, Dense, InputSpec, Layer, RequantLayer, Shape, WeightLayer
from .limits import check_name, show, show_path

_INT32 = (-(1 << 31), (1 << 31) - 1)
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Exact worst cases of one layer over all inputs of the declared widths (plain integers).

    *Members*: ``acc_min``, ``acc_max``: range of the accumulator over all filters, zero included;
    ``acc_abs``: no partial sum, in any order, is larger; ``window_max``: largest window sum ``S``;
    ``t_min``, ``t_max``: range of ``t``, over all filters; ``t_abs``: no term of ``t``, nor any
    partial sum of its terms and the rounding constant, is larger.
    """

    acc_min: int
    acc_max: int
    acc_abs: int
    window_max: int
    t_min: int
    t_max: int
    t_abs: int


def _signed_sums(
    weight: NDArray[np.int8], scale: NDArray[np.int32], window: NDArray[np.int32] | None
) -> tuple[list[int], list[int]]:
    """Per filter, the sums of the negative and of the positive ``scale*w + window``."""
    flat = weight.reshape(weight.shape[0], -1)
    step = max(1, _BLOCK // flat.shape[1])
    low: list[int] = []
    high: list[int] = []
    for start in range(0, flat.shape[0], step):
        part = slice(start, start + step)
        terms = flat[part].astype(np.int64) * scale[part, None].astype(np.int64)
        if window is not None:
            terms += window[part, None]
        low += np.minimum(terms, 0).sum(axis=1).tolist()
        high += np.maximum(terms, 0).sum(axis=1).tolist()
    return low, high


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A quantized network.

    *Parameters*: ``name``; ``input``; ``layers`` in topological order; ``output``, the name of the
    output layer; ``labels``, one string per output channel, or None; ``extra_inputs``, further
    inputs: the compiler's pieces of networks have them, network files do not.

    Raises `NetworkError` for whatever is wrong: names, unknown or unused tensors, shapes, ranges, a
    sum that int64 cannot hold, logits that int32 cannot hold. Networks compare equal when their
    files would be equal.
    """

    name: str
    input: InputSpec
    layers: tuple[Layer, ...]
    output: str
    labels: tuple[str, ...] | None = None
    extra_inputs: tuple[InputSpec, ...] = ()
    _shapes: dict[str, Shape] = field(init=False, repr=False)
    _bits: dict[str, int] = field(init=False, repr=False)
    _by_name: dict[str, Layer] = field(init=False, repr=False)
    _bounds: dict[str, Bounds] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_name(self.name, "network name")
        if not isinstance(self.input, InputSpec):
            raise NetworkError(f"input is {type(self.input).__name__}, must be an InputSpec")
        if not isinstance(self.layers, Sequence) or not 1 <= len(self.layers) <= limits.MAX_LAYERS:
            count = len(self.layers) if isinstance(self.layers, Sequence) else show(self.layers)
            raise NetworkError(f"layers: {count}, must be 1 to {limits.MAX_LAYERS}")
        object.__setattr__(self, "layers", tuple(self.layers))
        for attribute in ("_by_name", "_bounds"):
            object.__setattr__(self, attribute, {})
        object.__setattr__(self, "_shapes", {spec.name: spec.shape for spec in self.inputs})
        object.__setattr__(self, "_bits", {spec.name: spec.bits for spec in self.inputs})
        for layer in self.layers:
            self._add(layer)
        self._check_output()

    def _add(self, layer: Layer) -> None:
        if not isinstance(layer, Layer):
            raise NetworkError(f"layers holds {type(layer).__name__}, must hold Layer")
        if layer.name in self._shapes:
            layer.fail("name is used twice, names must be unique (the input's too)")
        for source in layer.inputs:
            if source not in self._shapes:
                layer.fail(
                    f"input {source} is not defined before it, must be the network's input "
                    "or an earlier layer"
                )
            if self._bits[source] > 8:
                layer.fail(f"input {source} is logits (32 bits), only the network's output may be")
        shape = layer.output_shape(self._shapes[layer.source])
        if layer.residual_source is not None:
            other = self._shapes[layer.residual_source]
            if other != shape:
                layer.fail(
                    f"residual {layer.residual_source} has shape {other}, must be the "
                    f"output's {shape}"
                )
        self._shapes[layer.name] = shape
        self._bits[layer.name] = layer.output_bits(self._bits[layer.source])
        self._by_name[layer.name] = layer
        self._bounds[layer.name] = self._bounds_of(layer)
        self._check_bounds(layer)

    def _bounds_of(self, layer: Layer) -> Bounds:
        shape = self._shapes[layer.source]
        peak = (1 << self._bits[layer.source]) - 1
        if not isinstance(layer, RequantLayer):
            return Bounds(
                acc_min=0, acc_max=peak, acc_abs=peak, window_max=0, t_min=0, t_max=peak, t_abs=peak
            )
        q = layer.requant
        scale = [int(v) for v in q.scale]
        count = 1
        if isinstance(layer, Dense):
            count = shape[1] * shape[2]
        elif isinstance(layer, AvgPool):
            count = layer.kernel[0] * layer.kernel[1]
        peak *= count
        if isinstance(layer, WeightLayer):
            ones = np.ones(layer.filters, np.int32)
            acc_low, acc_high = _signed_sums(layer.weight, ones, None)
            low, high = _signed_sums(layer.weight, q.scale, q.window)
            taps = layer.window_taps
        else:
            acc_low, acc_high = [0] * len(scale), [1] * len(scale)
            low, high = [min(m, 0) for m in scale], [max(m, 0) for m in scale]
            taps = 1
        window_max = peak * taps if q.window is not None else 0
        res_peak = 0
        residual = [0] * len(scale)
        if q.residual is not None and layer.residual_source is not None:
            res_peak = (1 << self._bits[layer.residual_source]) - 1
            residual = [int(v) for v in q.residual]
        window = [0] * len(scale) if q.window is None else [int(v) for v in q.window]
        bias = [int(v) for v in q.bias]
        channels = range(len(scale))
        return Bounds(
            acc_min=peak * min(acc_low),
            acc_max=peak * max(acc_high),
            acc_abs=peak * max(h - n for n, h in zip(acc_low, acc_high, strict=True)),
            window_max=window_max,
            t_min=min(peak * low[k] + min(residual[k], 0) * res_peak + bias[k] for k in channels),
            t_max=max(peak * high[k] + max(residual[k], 0) * res_peak + bias[k] for k in channels),
            t_abs=max(
                abs(scale[k]) * peak * max(-acc_low[k], acc_high[k])
                + abs(window[k]) * window_max
                + abs(residual[k]) * res_peak
                + abs(bias[k])
                for k in channels
            )
            + q.half,
        )

    def _check_bounds(self, layer: Layer) -> None:
        if not isinstance(layer, RequantLayer):
            return
        bounds = self._bounds[layer.name]
        fits = _INT32[0] <= bounds.t_min and bounds.t_max <= _INT32[1]
        if layer.requant.is_logits and not fits:
            layer.fail(
                f"logits can reach {bounds.t_min} to {bounds.t_max}, must fit in 32 bits "
                f"({_INT32[0]} to {_INT32[1]}): use smaller scale, window or bias"
            )
        if bounds.t_abs >= 1 << 63:
            layer.fail(
                f"sums before the shift can reach {bounds.t_abs}, must be less than 2**63: "
                "use smaller scale, window, residual or bias"
            )

    def _check_output(self) -> None:
        if not isinstance(self.output, str) or self.output not in self._by_name:
            raise NetworkError(f"output is {show(self.output)}, must be the name of a layer")
        used = {self.output} | {name for layer in self.layers for name in layer.inputs}
        for name in self._shapes:
            if name not in used:
                raise NetworkError(
                    f"{name} is used by no layer and is not the output, remove it or connect it"
                )
        if self.labels is None:
            return
        channels = self._shapes[self.output][0]
        if not isinstance(self.labels, tuple | list) or len(self.labels) != channels:
            raise NetworkError(
                f"labels is {show(self.labels)}, must be {channels} strings, one for "
                f"each channel of output {self.output}"
            )
        for label in self.labels:
            if (
                not isinstance(label, str)
                or not label.isprintable()
                or not 1 <= len(label) <= limits.MAX_LABEL
            ):
                raise NetworkError(
                    f"label {show(label)} must be 1 to {limits.MAX_LABEL} printable characters"
                )
        object.__setattr__(self, "labels", tuple(self.labels))

    def _known(self, name: str) -> str:
        if name not in self._shapes:
            raise NetworkError(
                f"{show(name)} is not in network {self.name}, must be one of "
                f"{', '.join(list(self._shapes)[:8])}..."
            )
        return name

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """All inputs, the first one first."""
        return (self.input, *self.extra_inputs)

    def is_input(self, name: str) -> bool:
        """Whether a tensor is an input."""
        return any(spec.name == name for spec in self.inputs)

    def shape_of(self, name: str) -> Shape:
        """Shape (C, H, W) of the input's or a layer's tensor."""
        return self._shapes[self._known(name)]

    def bits_of(self, name: str) -> int:
        """Bits of the input's or a layer's values: 1 to 8 unsigned, 32 for signed logits."""
        return self._bits[self._known(name)]

    def layer(self, name: str) -> Layer:
        """The layer of that name (the input is none)."""
        if name not in self._by_name:
            raise NetworkError(f"{show(name)} is not a layer of network {self.name}")
        return self._by_name[name]

    def consumers(self, name: str) -> tuple[Layer, ...]:
        """The layers that read a tensor, in order."""
        self._known(name)
        return tuple(layer for layer in self.layers if name in layer.inputs)

    def macs(self, layer: Layer | str | None = None) -> int:
        """Multiply-accumulates an image of one layer, or of the network (see `Layer.macs`)."""
        if layer is None:
            return sum(self.macs(each) for each in self.layers)
        if isinstance(layer, str):
            layer = self.layer(layer)
        return layer.macs(self._shapes[layer.source])

    def bounds(self, layer: Layer | str) -> Bounds:
        """Exact worst-case bounds of one layer."""
        return self._bounds[self.layer(layer if isinstance(layer, str) else layer.name).name]

    @property
    def density(self) -> float:
        """Share of non-zero weights over the whole network, 0 to 1 (1 without any weight)."""
        weights = [layer.weight for layer in self.layers if isinstance(layer, WeightLayer)]
        total = sum(w.size for w in weights)
        return sum(int(np.count_nonzero(w)) for w in weights) / total if total else 1.0

    @property
    def gives_logits(self) -> bool:
        """Whether the output is signed 32-bit logits rather than a map."""
        return self._bits[self.output] > 8

    @cached_property
    def _digest(self) -> str:
        from .file import dump_network

        return hashlib.sha256(dump_network(self, digest=None)).hexdigest()

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the canonical bytes; the file holds it as ``digest``."""
        return self._digest

    def to_bytes(self) -> bytes:
        """The network file; the same bytes for the same network, always."""
        from .file import dump_network

        return dump_network(self, digest=self.digest())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network file, replacing ``path`` in one step; NetworkError if it cannot."""
        target = Path(path)
        data = self.to_bytes()
        partial: Path | None = None
        try:
            partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
            partial.write_bytes(data)
            partial.replace(target)
        except (OSError, ValueError) as error:
            if partial is not None:
                with suppress(OSError, ValueError):
                    partial.unlink()
            reason = getattr(error, "strerror", None) or error
            raise NetworkError(f"cannot write {show_path(path)}: {reason}") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash(self.digest())
