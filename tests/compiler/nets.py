"""Small networks and arrays for the tests of compiler and machine, drawn from a seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from plum_hw.config import ArrayConfig
from plum_hw.ir import (
    Add,
    AvgPool,
    Conv,
    Dense,
    InputSpec,
    Layer,
    MaxPool,
    Network,
    Requant,
    Shape,
)

ROOMY = ArrayConfig(name="roomy", act_depth=4096, code_depth=65536, table_depth=8192)


def array(**knobs: Any) -> ArrayConfig:
    """An array with memories that hold any test network, and these knobs."""
    return replace(ROOMY, **knobs)


def draw_array(rng: np.random.Generator, *, roomy: bool = True, **knobs: Any) -> ArrayConfig:
    """A random array: with memories that hold any test network, or with small ones."""
    lanes = int(knobs.get("lanes", rng.choice([8, 16, 32, 64])))
    drawn = {
        "clusters": int(rng.integers(1, 7)),
        "write_buses": int(rng.choice([n for n in (1, 2, 4, 8) if n <= lanes // 8])),
        "lanes": lanes,
        "mask_bits": int(rng.choice([8, 16, 24, 32])),
        "reach": int(rng.integers(1, 8)),
        "acc_bits": int(rng.integers(10, 21)),
        "sum_bits": int(rng.integers(21, 26)),
    }
    if not roomy:
        drawn |= {
            "act_depth": int(rng.choice([96, 160, 256, 512, 1024])),
            "code_depth": int(rng.choice([192, 256, 512, 1024])),
            "table_depth": int(rng.choice([96, 128, 256, 1024])),
        }
    return array(**{**drawn, **knobs})


class Builder:
    """Builds a network layer by layer; outputs are spread over their range."""

    def __init__(self, shape: Shape, *, bits: int = 8, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.input = InputSpec(name="image", shape=shape, bits=bits)
        self.layers: list[Layer] = []
        self.last = "image"

    def network(self) -> Network:
        """The network so far; the last layer is the output."""
        return Network(name="test", input=self.input, layers=tuple(self.layers), output=self.last)

    def shape(self, name: str) -> Shape:
        """Shape of a tensor."""
        if name == "image":
            return self.input.shape
        layer = next(layer for layer in self.layers if layer.name == name)
        return layer.output_shape(self.shape(layer.source))

    def weight(self, shape: tuple[int, ...], scheme: str, bits: int, density: float) -> Any:
        """Weights of a scheme."""
        rng = self.rng
        mask = rng.random(shape) < density
        if scheme == "signed_binary":
            sign = np.where(np.arange(shape[0]) < (shape[0] + 1) // 2, 1, -1)
            return (mask * sign.reshape(-1, *[1] * (len(shape) - 1))).astype(np.int8)
        if scheme == "binary":
            return np.where(mask, 1, -1).astype(np.int8)
        if scheme == "ternary":
            return (mask * rng.choice([-1, 1], shape)).astype(np.int8)
        half = 1 << (bits - 1)
        return (mask * rng.integers(-half, half, shape)).astype(np.int8)

    def requant(
        self,
        flat: Any,
        *,
        window: bool = False,
        residual: bool = False,
        shift: int = 16,
        out_bits: int = 8,
    ) -> Requant:
        """Constants for filters whose weights are the rows of ``flat``, for uniform inputs."""
        flat = flat.reshape(len(flat), -1).astype(float)
        spread = 73 * np.sqrt(np.maximum((flat**2).sum(axis=1), 1))
        scale = np.minimum((1 << shift) * 50 / spread, 40000)
        n = np.rint(-scale * 0.1) if window else np.zeros(len(flat))
        r = 0.4 * (1 << shift) if residual else 0.0
        mean = scale * flat.sum(axis=1) * 127 + n * flat.shape[1] * 127 + r * 127
        return Requant(
            scale=np.rint(scale).astype(np.int32),
            bias=np.rint(127 * (1 << shift) - mean).astype(np.int64),
            window=n.astype(np.int32) if window else None,
            residual=np.full(len(flat), int(r), np.int32) if residual else None,
            shift=shift,
            out_bits=out_bits,
        )

    def _append(self, layer: Layer) -> str:
        self.layers.append(layer)
        self.last = layer.name
        return layer.name

    def _name(self, op: str) -> str:
        return f"{op}{len(self.layers)}"

    def conv(
        self,
        filters: int,
        kernel: int | tuple[int, int] = 3,
        *,
        source: str | None = None,
        residual: str | None = None,
        scheme: str = "signed_binary",
        bits: int = 8,
        density: float = 0.35,
        stride: int = 1,
        padding: tuple[int, int] | None = None,
        depthwise: bool = False,
        window: bool = False,
        **requant: Any,
    ) -> str:
        """Append a convolution ('same' padding by default); returns its name."""
        source = source or self.last
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        channels = self.shape(source)[0]
        shape = (filters, 1 if depthwise else channels, rows, columns)
        weight = self.weight(shape, scheme, bits, density)
        width = {"signed_binary": 1, "binary": 1, "ternary": 2}.get(scheme, bits)
        return self._append(
            Conv(
                name=self._name("conv"),
                inputs=(source,) if residual is None else (source, residual),
                weight=weight,
                scheme=scheme,
                weight_bits=width,
                stride=stride,
                padding=((rows - 1) // 2, (columns - 1) // 2) if padding is None else padding,
                groups=filters if depthwise else 1,
                requant=self.requant(
                    weight, window=window, residual=residual is not None, **requant
                ),
            )
        )

    def dense(
        self,
        filters: int,
        *,
        logits: bool = True,
        scheme: str = "int",
        bits: int = 8,
        window: bool = False,
    ) -> str:
        """Append a dense layer; returns its name."""
        channels, height, width = self.shape(self.last)
        weight = self.weight((filters, channels), scheme, bits, 1.0)
        spread = np.repeat(weight, height * width, axis=1)
        requant = self.requant(spread, window=window)
        if logits:
            requant = Requant(
                scale=np.full(filters, 3, np.int32),
                bias=self.rng.integers(-1000, 1000, filters),
                window=np.full(filters, -2, np.int32) if window else None,
                shift=0,
                out_bits=32,
            )
        return self._append(
            Dense(
                name=self._name("dense"),
                inputs=(self.last,),
                weight=weight,
                scheme=scheme,
                weight_bits={"signed_binary": 1, "binary": 1, "ternary": 2}.get(scheme, bits),
                requant=requant,
            )
        )

    def pool(
        self,
        op: str,
        kernel: tuple[int, int] = (2, 2),
        stride: int = 2,
        padding: tuple[int, int] = (0, 0),
        source: str | None = None,
    ) -> str:
        """Append a "maxpool" or an "avgpool"; returns its name."""
        source = source or self.last
        common: dict[str, Any] = {
            "name": self._name(op),
            "inputs": (source,),
            "kernel": kernel,
            "stride": stride,
            "padding": padding,
        }
        if op == "maxpool":
            return self._append(MaxPool(**common))
        ones = np.ones((self.shape(source)[0], kernel[0] * kernel[1]))
        return self._append(AvgPool(requant=self.requant(ones), **common))

    def add(self, first: str, second: str) -> str:
        """Append an addition; returns its name."""
        ones = np.ones((self.shape(first)[0], 1))
        return self._append(
            Add(
                name=self._name("add"),
                inputs=(first, second),
                requant=self.requant(ones, residual=True),
            )
        )


def residual_network(seed: int = 0, channels: int = 8, side: int = 12) -> Network:
    """A small residual network with a stride-2 stage, all schemes and a dense classifier."""
    net = Builder((1, side, side), seed=seed)
    stem = net.conv(channels, scheme="int", window=True)
    net.conv(channels, source=stem)
    block = net.conv(channels, residual=stem, window=True)
    net.conv(2 * channels, stride=2, scheme="ternary")
    main = net.conv(2 * channels, scheme="binary")
    shortcut = net.conv(2 * channels, 1, source=block, stride=2, scheme="int", bits=4)
    net.add(main, shortcut)
    net.dense(10)
    return net.network()


#: Clusters of `depthwise_network`'s arrays, and vectors that they hold: too few for its maps with
#: all channels in every cluster.
DEPTHWISE_VECTORS = {2: 100, 3: 80, 5: 90}


def depthwise_network(clusters: int) -> tuple[Network, ArrayConfig]:
    """A network with a depthwise layer and a pool, and a small array that can only just hold it."""
    net = Builder((4, 12, 12), seed=clusters)
    net.conv(22, 1, density=0.8)
    net.conv(22, depthwise=True, density=0.8)
    net.conv(10, 1)
    net.pool("maxpool")
    net.conv(10, 3, stride=2)
    net.dense(10)
    depth = DEPTHWISE_VECTORS[clusters]
    return net.network(), array(clusters=clusters, lanes=64, write_buses=2, act_depth=depth)
