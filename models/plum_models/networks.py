"""Networks by name, built from the descriptions of `plum_hw.zoo` out of quantized layers.

A network is a list of nodes (convolution units, pools, PReLUs, one classifier at the end), each
reading earlier ones by name; the export walks the same list. Descriptions say which layers keep
8-bit weights (first, shortcuts, depthwise, classifier); all others take the scheme of the
configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from plum_hw.zoo import DESCRIPTIONS, Description, residual
from plum_models.activations import ActivationQuantizer
from plum_models.errors import check_types
from plum_models.layers import Classifier, ConvUnit, PoolUnit, PReluUnit, QuantConv2d
from plum_models.quantizers import (
    BinaryQuantizer,
    SignedBinaryQuantizer,
    SymmetricQuantizer,
    TernaryQuantizer,
    WeightQuantizer,
)

SCHEMES = ("signed_binary", "binary", "ternary", "int", "full")

#: Networks that can be trained: those of the zoo that classify by convolutions.
NETWORKS = (
    "residual",
    *(name for name in DESCRIPTIONS if name not in ("autoencoder", "layer-l", "fashion")),
)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Everything that shapes a network.

    *Parameters*: ``name`` of the result; ``network``, one of `NETWORKS`; for "residual" ``stem``
    channels of the first layer and ``blocks[i]`` residual blocks of ``widths[i]`` channels at
    stride ``strides[i]``; ``channels``, ``size``: of square images (0: what the description
    says); ``classes``; ``width`` multiplies all channels; ``scheme`` one of `SCHEMES`;
    ``activation_bits`` 2 to 8; ``power_of_two`` steps of activations; ``weight_bits`` of layers
    that keep more, ``body_bits`` of the others in scheme "int"; ``positive_share``,
    ``threshold``, ``region`` (where it divides a layer's channels; others keep whole filters),
    ``offset``, ``ede``, ``target_density``: see the quantizers.
    """

    name: str = "fashion"
    network: str = "residual"
    scheme: str = "signed_binary"
    stem: int = 16
    widths: tuple[int, ...] = (16, 32, 64)
    blocks: tuple[int, ...] = (1, 1, 2)
    strides: tuple[int, ...] = (1, 2, 2)
    channels: int = 0
    size: int = 0
    classes: int = 10
    width: float = 1.0
    activation_bits: int = 8
    power_of_two: bool = False
    weight_bits: int = 8
    body_bits: int = 4
    positive_share: float = 0.5
    threshold: float = 0.05
    region: int = 0
    offset: bool = True
    ede: bool = False
    target_density: float = 0.0

    def __post_init__(self) -> None:
        check_types(self)
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {self.scheme!r}")
        if self.network not in NETWORKS:
            raise ValueError(f"network must be one of {', '.join(NETWORKS)}, got {self.network!r}")
        if not len(self.widths) == len(self.blocks) == len(self.strides):
            raise ValueError(
                f"widths, blocks and strides must be of one length, got "
                f"{len(self.widths)}, {len(self.blocks)}, {len(self.strides)}"
            )
        if not self.widths or self.stem < 1 or self.classes < 2:
            raise ValueError(
                f"a network needs a stage, a stem and two classes, got widths {list(self.widths)}, "
                f"stem {self.stem}, classes {self.classes}"
            )
        if wrong := [stride for stride in self.strides if stride > 2]:
            raise ValueError(f"strides must be 1 or 2, got {wrong[0]}")
        if not 2 <= self.activation_bits <= 8:
            raise ValueError(f"activation_bits must be 2 to 8, got {self.activation_bits}")
        if self.width <= 0:
            raise ValueError(f"width must be above 0, got {self.width}")
        if min(self.channels, self.size, self.region) < 0:
            raise ValueError("channels, size and region must be 0 or more")

    def to_json(self) -> dict[str, object]:
        """As a dictionary that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> NetworkConfig:
        """From a dictionary; unknown keys are an error that names them."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown network option {unknown[0]!r}; known: {sorted(known)}")
        options: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**options)

    @property
    def description(self) -> Description:
        """The layers, independent of quantization."""
        if self.network == "residual":
            return residual(self.stem, self.widths, self.blocks, self.strides)
        return DESCRIPTIONS[self.network]

    @property
    def image(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        channels, height, width = self.description.image
        side = (self.size, self.size) if self.size else (height, width)
        return (self.channels or channels, *side)

    @property
    def label(self) -> str:
        """The scheme as tables and `evaluate --scheme` name it."""
        label = f"int{self.body_bits}" if self.scheme == "int" else self.scheme.replace("_", "-")
        if self.scheme != "signed_binary":
            return label
        label += "" if self.offset else "-published"
        return f"{label}-region{self.region}" if self.region else label

    @property
    def family(self) -> str:
        """The network as tables and `evaluate --network` name it: its name without the scheme."""
        return re.sub("-(full|binary|ternary|published)$", "", self.name)


def body_quantizer(config: NetworkConfig, filters: int, inputs: int) -> WeightQuantizer | None:
    """The quantizer of a layer that takes the configuration's scheme; None for full precision."""
    if config.scheme == "signed_binary":
        return SignedBinaryQuantizer(
            filters,
            inputs=inputs,
            positive_share=config.positive_share,
            threshold=config.threshold,
            region=config.region if config.region and inputs % config.region == 0 else 0,
            offset=config.offset,
            ede=config.ede,
            density=config.target_density,
        )
    if config.scheme == "binary":
        return BinaryQuantizer()
    if config.scheme == "ternary":
        return TernaryQuantizer(threshold=config.threshold)
    if config.scheme == "int":
        return SymmetricQuantizer(filters, bits=config.body_bits)
    return None


@dataclass(frozen=True)
class Node:
    """One step of a network: what kind, what it reads, and whether it takes the scheme."""

    name: str
    kind: str
    source: str
    residual: str | None = None
    body: bool = False


class _TorchBuilder:
    """What a description is read with: it appends nodes and modules to a network."""

    def __init__(self, net: PlumNet) -> None:
        self.net, self.config = net, net.config
        self.widths = {"image": net.config.image[0]}
        self.zero = {"image": 0}

    def channels(self, name: str) -> int:
        """Channels of a tensor."""
        return self.widths[name]

    def _act(self, bits: int, zero: int) -> ActivationQuantizer | None:
        if self.config.scheme == "full":
            return None
        return ActivationQuantizer(bits, zero_point=zero, power_of_two=self.config.power_of_two)

    def _scaled(self, filters: int) -> int:
        return max(1, round(filters * self.config.width))

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
        """See `plum_hw.zoo.builder.Builder.conv`."""
        config, inputs = self.config, self.widths[source]
        filters = inputs if depthwise else self._scaled(filters)
        body = scheme is None
        if body or config.scheme == "full":
            quantizer = body_quantizer(config, filters, inputs)
        else:
            quantizer = SymmetricQuantizer(filters, bits=config.weight_bits)
        conv = QuantConv2d(
            inputs,
            filters,
            kernel,
            quantizer,
            stride=stride,
            padding=padding,
            depthwise=depthwise,
        )
        unit = ConvUnit(
            conv,
            bits=config.activation_bits,
            quantize_activations=config.scheme != "full",
            signed_output=signed,
            power_of_two=config.power_of_two,
        )
        self.zero[name] = 128 if signed else 0
        return self._append(Node(name, "conv", source, residual, body), unit, filters)

    def maxpool(self, name: str, source: str, kernel: int = 2, padding: int = 0) -> str:
        """The largest of a square of pixels, with stride 2."""
        self.zero[name] = self.zero[source]
        pool = nn.MaxPool2d(kernel, 2, padding)
        return self._append(Node(name, "maxpool", source), pool, self.widths[source])

    def avgpool(self, name: str, source: str) -> str:
        """The mean of 2x2 pixels, with stride 2."""
        self.zero[name] = self.zero[source]
        pool = PoolUnit(self._act(8, self.zero[source]))
        return self._append(Node(name, "avgpool", source), pool, self.widths[source])

    def prelu(self, name: str, source: str) -> str:
        """PReLU of a signed convolution."""
        bits = self.config.activation_bits
        self.zero[name] = 2**bits // 4
        unit = PReluUnit(self.widths[source], self._act(bits, self.zero[name]))
        return self._append(Node(name, "prelu", source), unit, self.widths[source])

    def logits(self, name: str, source: str, classes: int) -> str:
        """The classifier after global average pooling (the configuration says how many classes)."""
        bits = None if self.config.scheme == "full" else self.config.weight_bits
        unit = Classifier(self.widths[source], self.config.classes, bits=bits)
        return self._append(Node(name, "logits", source), unit, self.config.classes)

    def _append(self, node: Node, module: nn.Module, channels: int) -> str:
        self.net.append(node, module)
        self.widths[node.name] = channels
        return node.name


def _offset(act: ActivationQuantizer | None) -> TypeGuard[ActivationQuantizer]:
    """Whether 0.0 is not level 0: then the zeros that the array pads with are not 0.0 either."""
    return act is not None and act.enabled and act.zero_point > 0


class PlumNet(nn.Module):
    """A network of this module's head. Input float [N, C, H, W] in 0..1; output [N, classes].

    *Members*: ``config``; ``nodes`` in order, the classifier last.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.nodes: list[Node] = []
        self._by_name: dict[str, Node] = {}
        config.description.layers(_TorchBuilder(self))

    def append(self, node: Node, module: nn.Module) -> None:
        """Add a node; a dot in its name is a container in between."""
        self.nodes.append(node)
        self._by_name[node.name] = node
        parent: nn.Module = self
        *path, last = node.name.split(".")
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, nn.Module())
            parent = getattr(parent, part)
        parent.add_module(last, module)

    def unit(self, name: str) -> nn.Module:
        """The module of a node."""
        return self.get_submodule(name)

    def quantizer_of(self, name: str) -> ActivationQuantizer | None:
        """The quantizer that made a tensor's levels (None: the image, or full precision)."""
        while name != "image":
            node = self._by_name[name]
            if node.kind != "maxpool":
                act = self.unit(name).act
                assert act is None or isinstance(act, ActivationQuantizer)
                return act
            name = node.source
        return None

    def forward(self, x: Tensor) -> Tensor:
        values = {"image": x}
        for node in self.nodes:
            unit, source = self.unit(node.name), values[node.source]
            if node.kind == "conv":
                act = self.quantizer_of(node.source)
                border = -act.zero_point * float(act.step()) if _offset(act) else 0.0
                other = None if node.residual is None else values[node.residual]
                values[node.name] = unit(source, other, border)
            else:
                values[node.name] = unit(source)
        return values[self.nodes[-1].name]

    def activations(self) -> Iterator[ActivationQuantizer]:
        """All activation quantizers."""
        return (m for m in self.modules() if isinstance(m, ActivationQuantizer))

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:
        """Set the steps of all activations from one batch, as in training."""
        was_training = self.training
        self.train()
        for act in self.activations():
            act.calibrating = True
        self(images)
        for act in self.activations():
            act.calibrating = False
        self.train(was_training)

    def quantizers(self) -> Iterator[WeightQuantizer]:
        """All weight quantizers."""
        return (m for m in self.modules() if isinstance(m, WeightQuantizer))

    def convolutions(self, *, body: bool = False) -> Iterator[tuple[str, QuantConv2d]]:
        """All convolutions by name; with `body` only those that take the scheme."""
        for node in self.nodes:
            if node.kind == "conv" and (node.body or not body):
                conv = self.unit(node.name).conv
                assert isinstance(conv, QuantConv2d)
                yield node.name, conv

    def densities(self) -> dict[str, float]:
        """Share of non-zero weights of each layer that takes the scheme."""
        return {
            name: 1.0 if conv.quantizer is None else conv.codes().density
            for name, conv in self.convolutions(body=True)
        }

    def density(self) -> float:
        """Share of non-zero weights over all layers that take the scheme."""
        sizes = {name: conv.weight.numel() for name, conv in self.convolutions(body=True)}
        ones = sum(share * sizes[name] for name, share in self.densities().items())
        return ones / max(sum(sizes.values()), 1)

    @torch.no_grad()
    def start_from(self, teacher: PlumNet) -> None:
        """Take the weights and batch norms of a full-precision net of the same shape."""
        own = self.state_dict()
        for key, value in teacher.state_dict().items():
            if key not in own or own[key].shape != value.shape:
                raise ValueError(f"the teacher's {key} {tuple(value.shape)} does not fit this net")
            own[key].copy_(value)
        for _, conv in self.convolutions():
            conv.calibrate()
