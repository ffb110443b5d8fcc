"""Drawing the layers of a random network, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_hw.errors import ConfigError

from .layers import (
    LOGIT_BITS,
    Add,
    AvgPool,
    Conv,
    Dense,
    InputSpec,
    Layer,
    MaxPool,
    Requant,
    Shape,
    WeightLayer,
)
from .samples import MAX_BIAS, MAX_FACTOR, SHIFTS, accumulate, evaluate


@dataclass
class Tensor:
    """A tensor of the network being drawn, with its values for the sample images."""

    name: str
    shape: Shape
    bits: int
    values: NDArray[np.uint8]  # [C, N, H, W]


@dataclass
class Draw:
    """A network that is being drawn: what it may have, and what it has so far."""

    rng: np.random.Generator
    schemes: tuple[str, ...]
    max_kernel: int
    max_width: int
    max_channels: int
    max_macs: int
    out_bits: tuple[int, int]
    weight_bits: tuple[int, int]
    window: bool
    spec: InputSpec
    tensors: list[Tensor] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    macs: int = 0

    # ---- small draws ----

    def integer(self, low: int, high: int) -> int:
        """Uniform from ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high, endpoint=True))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, items: Sequence[Any]) -> Any:
        return items[self.integer(0, len(items) - 1)]

    def bits(self) -> int:
        low, high = self.out_bits
        return high if self.chance(0.5) else self.integer(low, high)

    @property
    def current(self) -> Tensor:
        return self.tensors[-1]

    def name(self, op: str) -> str:
        return f"{op}{len(self.layers)}"

    # ---- weights ----

    def weight(self, shape: tuple[int, ...], scheme: str) -> tuple[NDArray[np.int8], int]:
        """Weights of a scheme and their width; some filters all zero, all one or sparse."""
        rng = self.rng
        if scheme == "binary":
            return (rng.integers(0, 2, shape) * 2 - 1).astype(np.int8), 1
        bits = 1 if scheme == "signed_binary" else 2
        if scheme == "int":
            bits = self.integer(*self.weight_bits)
        density = self.pick([0.0, 0.1, 0.35, 0.35, 0.35, 0.5, 0.65, 0.9, 1.0])
        if density == 0.0 and self.chance(0.7):
            density = 0.35  # a layer without any weight stays rare
        per_filter = np.full(shape[0], density)
        for extreme in (0.0, 1.0):
            per_filter[rng.random(shape[0]) < 0.08] = extreme
        mask = rng.random(shape) < per_filter.reshape(-1, *([1] * (len(shape) - 1)))
        if scheme == "signed_binary":
            sign = np.where(np.arange(shape[0]) < (shape[0] + 1) // 2, 1, -1)
            if self.chance(0.3):
                sign = rng.permutation(sign)
            if self.chance(0.1):
                sign[:] = self.pick([-1, 1])
            return (mask * sign.reshape(-1, *([1] * (len(shape) - 1)))).astype(np.int8), bits
        half = 1 << (bits - 1)
        if scheme == "ternary":
            return (mask * (rng.integers(0, 2, shape) * 2 - 1)).astype(np.int8), bits
        values = rng.integers(-half, half, shape)
        if self.chance(0.2):
            values = np.where(values < 0, -half, half - 1)
        return (mask * values).astype(np.int8), bits

    # ---- requantization ----

    def requant(
        self,
        probe: Layer,
        channels: int,
        out_bits: int,
        residual: Tensor | None,
        window: bool,
    ) -> Requant:
        """Constants that spread the outputs of ``probe`` (any constants in it) over their range."""
        acc, total = accumulate(probe, self.current.values)
        acc = acc.reshape(channels, -1)
        span = 1 << out_bits
        rng = self.rng
        spread = acc.std(axis=1)
        if self.chance(0.2):  # as a careful exporter would, for the worst case
            spread = np.maximum(np.abs(acc).max(axis=1), spread)
        gain = span * rng.uniform(0.15, 0.6, channels) / np.maximum(spread, 1e-3)
        gain = np.minimum(gain, span * 2.0)
        if self.chance(0.3):
            gain *= rng.choice([-1.0, 1.0], channels)
        fitting = [s for s in SHIFTS if np.abs(gain).max() * 2.0**s <= MAX_FACTOR]
        shift = SHIFTS[0] if not fitting else self.pick(fitting[-2:])
        unit = 2.0**shift

        def factor(values: NDArray[np.float64]) -> NDArray[np.int32]:
            return np.clip(np.rint(values), -MAX_FACTOR, MAX_FACTOR).astype(np.int32)

        scale = factor(gain * unit)
        t = scale[:, None] * acc
        n = r = None
        if window:
            n = factor(-scale * rng.uniform(0.0, 0.6, channels))
            t = t + n[:, None] * total.reshape(1, -1)
        if residual is not None:
            ratio = span / (1 << residual.bits) * rng.uniform(-0.5, 1.2, channels)
            r = factor(ratio * unit)
            t = t + r[:, None] * residual.values.reshape(channels, -1).astype(np.float64)
        centre = rng.uniform(0.1, 0.6, channels) * span
        bias = np.clip(np.rint(centre * unit - t.mean(axis=1)), -MAX_BIAS, MAX_BIAS)
        return Requant(
            scale=scale,
            bias=bias.astype(np.int64),
            window=n,
            residual=r,
            shift=shift,
            out_bits=out_bits,
        )

    def _placeholder(self, channels: int, residual: bool) -> Requant:
        ones = np.ones(channels, np.int32)
        return Requant(
            scale=ones,
            bias=np.zeros(channels, np.int64),
            residual=ones if residual else None,
            shift=SHIFTS[0],
            out_bits=8,
        )

    def push(self, layer: Layer, residual: Tensor | None = None) -> None:
        """Append a layer that reads the current tensor."""
        shape = layer.output_shape(self.current.shape)
        self.macs += layer.macs(self.current.shape)
        values = evaluate(layer, self.current.values, None if residual is None else residual.values)
        bits = layer.output_bits(self.current.bits)
        self.layers.append(layer)
        self.tensors.append(Tensor(layer.name, shape, bits, values))

    # ---- layers; each returns False where it does not fit ----

    def _sides(self, size: int, stride: int, want: int | None) -> tuple[int, int] | None:
        """Kernel and padding of one axis, with an output of ``want`` where given."""
        options: list[tuple[int, int]] = []
        for kernel in range(1, self.max_kernel + 1):
            for pad in range(kernel):
                if size + 2 * pad < kernel:
                    continue
                out = (size + 2 * pad - kernel) // stride + 1
                if out <= self.max_width and (want is None or out == want):
                    options.append((kernel, pad))
        same = [(k, p) for k, p in options if p == (k - 1) // 2 and k in (1, 3, 5)]
        if same and self.chance(0.6):
            options = same
        return self.pick(options) if options else None

    def conv(self, kind: str) -> bool:
        x = self.current
        other: Tensor | None = None
        if kind == "residual" or (kind == "depthwise" and self.chance(0.2)):
            depthwise = kind == "depthwise"
            fits = [t for t in self.tensors if not depthwise or t.shape[0] == x.shape[0]]
            other = self.pick(fits) if fits else None
        strides = [1, 2] if self.chance(0.35) else [1]
        if kind == "residual":
            strides = [1, 2]
        self.rng.shuffle(strides)
        sides = None
        for stride in strides:
            want = (None, None) if other is None else other.shape[1:]
            vertical = self._sides(x.shape[1], stride, want[0])
            horizontal = self._sides(x.shape[2], stride, want[1])
            if vertical is not None and horizontal is not None:
                if other is None and self.chance(0.6) and x.shape[1] >= vertical[0]:
                    square = self._sides(x.shape[2], stride, None)
                    if square is not None and x.shape[1] + 2 * square[1] >= square[0]:
                        out = (x.shape[1] + 2 * square[1] - square[0]) // stride + 1
                        if out <= self.max_width:
                            vertical = horizontal = square
                sides = (stride, vertical, horizontal)
                break
        if sides is None:
            return False
        stride, vertical, horizontal = sides
        groups = x.shape[0] if kind == "depthwise" else 1
        if kind == "depthwise":
            filters = x.shape[0]
        elif other is not None:
            filters = other.shape[0]
        else:
            filters = self.integer(1, self.max_channels)
            if self.chance(0.3):
                filters = x.shape[0]
        scheme = self.pick(self.schemes)
        shape = (filters, x.shape[0] // groups, vertical[0], horizontal[0])
        weight, bits = self.weight(shape, scheme)
        common: dict[str, Any] = {
            "name": self.name(kind),
            "inputs": (x.name,) if other is None else (x.name, other.name),
            "weight": weight,
            "scheme": scheme,
            "weight_bits": bits,
            "stride": stride,
            "padding": (vertical[1], horizontal[1]),
            "groups": groups,
        }
        probe = Conv(requant=self._placeholder(filters, other is not None), **common)
        if self.macs + probe.macs(x.shape) > self.max_macs:
            return False
        window = self.window and groups == 1 and self.chance(0.4)
        requant = self.requant(probe, filters, self.bits(), other, window)
        self.push(Conv(requant=requant, **common), other)
        return True

    def add(self) -> bool:
        x = self.current
        fits = [t for t in self.tensors if t.shape == x.shape]
        other = self.pick(fits[:-1] if len(fits) > 1 and self.chance(0.95) else fits)
        common: dict[str, Any] = {"name": self.name("add"), "inputs": (x.name, other.name)}
        probe = Add(requant=self._placeholder(x.shape[0], True), **common)
        requant = self.requant(probe, x.shape[0], self.bits(), other, False)
        self.push(Add(requant=requant, **common), other)
        return True

    def pool(self, op: str) -> bool:
        x = self.current
        stride = self.pick([1, 2, 2])
        limit = min(self.max_kernel, 4) if self.chance(0.8) else self.max_kernel
        kernel, padding = [], []
        for size in x.shape[1:]:
            options = [
                (k, p)
                for k in range(1, limit + 1)
                for p in range(k)
                if size + 2 * p >= k and (size + 2 * p - k) // stride + 1 <= self.max_width
            ]
            k, p = self.pick(options)
            if self.chance(0.6) and size >= k:
                p = 0
            kernel.append(k)
            padding.append(p)
        room = x.shape[1] + 2 * padding[1] - kernel[1]
        if self.chance(0.5) and 0 <= room // stride < self.max_width:
            kernel[0], padding[0] = kernel[1], padding[1]
        common: dict[str, Any] = {
            "name": self.name(op),
            "inputs": (x.name,),
            "kernel": tuple(kernel),
            "stride": stride,
            "padding": tuple(padding),
        }
        if op == "maxpool":
            self.push(MaxPool(**common))
            return True
        probe = AvgPool(requant=self._placeholder(x.shape[0], False), **common)
        requant = self.requant(probe, x.shape[0], self.bits(), None, False)
        self.push(AvgPool(requant=requant, **common))
        return True

    def dense(self, logits: bool) -> bool:
        x = self.current
        filters = self.integer(2, max(2, min(self.max_channels, 12)))
        scheme = self.pick(self.schemes)
        weight, bits = self.weight((filters, x.shape[0]), scheme)
        common: dict[str, Any] = {
            "name": self.name("dense"),
            "inputs": (x.name,),
            "scheme": scheme,
            "weight_bits": bits,
        }
        probe = Dense(requant=self._placeholder(filters, False), weight=weight, **common)
        window = self.window and self.chance(0.4)
        if logits:
            requant = self._logits(probe, window)
        else:
            requant = self.requant(probe, filters, self.bits(), None, window)
        self.push(Dense(requant=requant, weight=weight, **common))
        return True

    def _logits(self, layer: WeightLayer, window: bool) -> Requant:
        """Constants as large as no worst case overflows 32 bits with, or smaller."""
        x = self.current
        peak = ((1 << x.bits) - 1) * x.shape[1] * x.shape[2]
        largest = peak * max(1, int(np.abs(layer.weight.astype(np.int64)).sum(axis=1).max()))
        total = peak * x.shape[0]
        room = 1 << 29
        top = min(MAX_FACTOR, room // largest)
        if top < 1:
            raise ConfigError(
                f"logits of a sum of up to {largest} do not fit in 32 bits, use a smaller "
                "max_width or max_channels"
            )
        if self.chance(0.7):
            top = min(top, 255)
        count = layer.filters
        scale = self.rng.integers(1, top, count, endpoint=True)
        if self.chance(0.3):
            scale *= self.rng.choice([-1, 1], count)
        n = None
        if window:
            most = min(top, room // total)
            n = self.rng.integers(-most, most, count, endpoint=True).astype(np.int32)
        reach = max(1, min(room, top * largest // 4))
        return Requant(
            scale=scale.astype(np.int32),
            bias=self.rng.integers(-reach, reach, count, endpoint=True),
            window=n,
            shift=0,
            out_bits=LOGIT_BITS,
        )
