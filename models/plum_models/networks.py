"""Networks by configuration: a small residual net for 28x28 images.

    image 1x28x28 -> stem 3x3 (8-bit) -> residual stages (signed binary 3x3) -> global average
    pooling -> dense (8-bit) -> 10 logits

A stage whose first block has stride 2 takes its residual through an 8-bit 1x1 convolution of stride
2, whose output is stored with a zero point; all other residuals are the block's input itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from plum_models.errors import check_types
from plum_models.layers import ConvUnit, QuantConv2d, QuantLinear, SignedBinaryConv2d
from plum_models.quantizers import SymmetricQuantizer, WeightQuantizer

SCHEMES = ("signed_binary", "full")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Everything that shapes a network. `blocks[i]` residual blocks of `widths[i]` channels at
    stride `strides[i]`; `stem` channels of the first layer; scheme one of SCHEMES.
    """

    name: str = "fashion"
    scheme: str = "signed_binary"
    stem: int = 16
    widths: tuple[int, ...] = (16, 32, 64)
    blocks: tuple[int, ...] = (1, 1, 2)
    strides: tuple[int, ...] = (1, 2, 2)
    classes: int = 10
    activation_bits: int = 8
    weight_bits: int = 8
    positive_share: float = 0.5
    threshold: float = 0.05
    offset: bool = True
    ede: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {self.scheme!r}")
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


class ResidualBlock(nn.Module):
    """Two 3x3 units; the second adds the block's input (or its shortcut) before the activation."""

    def __init__(self, conv1: ConvUnit, conv2: ConvUnit, shortcut: ConvUnit | None) -> None:
        super().__init__()
        self.conv1, self.conv2, self.shortcut = conv1, conv2, shortcut

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.shortcut is None else self.shortcut(x)
        return self.conv2(self.conv1(x), residual)


class ResidualNet(nn.Module):
    """The network of this module's head. Input float [N, 1, H, W] in 0..1; output [N, classes]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        quantized = config.scheme != "full"

        def unit(conv: QuantConv2d, signed: bool = False) -> ConvUnit:
            return ConvUnit(
                conv,
                bits=config.activation_bits,
                quantize_activations=quantized,
                signed_output=signed,
            )

        def plain(inputs: int, filters: int, kernel: int, stride: int = 1) -> QuantConv2d:
            quantizer: WeightQuantizer | None = None
            if quantized:
                quantizer = SymmetricQuantizer(filters, bits=config.weight_bits)
            return QuantConv2d(inputs, filters, kernel, quantizer, stride=stride)

        body: Callable[[int, int, int], QuantConv2d]
        if quantized:

            def body(inputs: int, filters: int, stride: int) -> QuantConv2d:
                return SignedBinaryConv2d(
                    inputs,
                    filters,
                    3,
                    stride=stride,
                    positive_share=config.positive_share,
                    threshold=config.threshold,
                    offset=config.offset,
                    ede=config.ede,
                )
        else:

            def body(inputs: int, filters: int, stride: int) -> QuantConv2d:
                return plain(inputs, filters, 3, stride)

        self.stem = unit(plain(1, config.stem, 3))
        stack: list[tuple[str, ResidualBlock]] = []
        inputs = config.stem
        for stage, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for block in range(count):
                stride = config.strides[stage] if block == 0 else 1
                shortcut = None
                if stride != 1 or inputs != width:
                    shortcut = unit(plain(inputs, width, 1, stride), signed=True)
                conv1 = unit(body(inputs, width, stride))
                conv2 = unit(body(width, width, 1))
                stack.append((f"s{stage + 1}b{block + 1}", ResidualBlock(conv1, conv2, shortcut)))
                inputs = width
        self.block_names = [name for name, _ in stack]
        self.blocks = nn.ModuleDict(dict(stack))
        self.fc = QuantLinear(
            inputs, config.classes, bits=config.weight_bits if quantized else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        for block in self.blocks.values():
            y = block(y)
        # Pooling and classifier in float32: no requantization lies between them on the array.
        return self.fc(y.float().mean((2, 3)))

    def quantizers(self) -> Iterator[WeightQuantizer]:
        """All weight quantizers."""
        return (m for m in self.modules() if isinstance(m, WeightQuantizer))

    def convolutions(self) -> Iterator[tuple[str, QuantConv2d]]:
        """All convolutions with the names that they have in the network file."""
        yield "stem", self.stem.conv
        for name, block in self.blocks.items():
            for part in ("shortcut", "conv1", "conv2"):
                unit = getattr(block, part)
                if unit is not None:
                    yield f"{name}.{part}", unit.conv

    def densities(self) -> dict[str, float]:
        """Share of non-zero weights of each signed-binary layer."""
        found = {}
        for name, conv in self.convolutions():
            if isinstance(conv, SignedBinaryConv2d):
                found[name] = conv.codes().density
        return found

    def density(self) -> float:
        """Share of non-zero weights over all signed-binary layers; 1.0 where there is none."""
        ones = total = 0.0
        for _, conv in self.convolutions():
            if isinstance(conv, SignedBinaryConv2d):
                ones += conv.codes().density * conv.weight.numel()
                total += conv.weight.numel()
        return ones / total if total else 1.0

    @torch.no_grad()
    def start_from(self, teacher: ResidualNet) -> None:
        """Take the weights and batch norms of a full-precision net of the same shape."""
        own = self.state_dict()
        for key, value in teacher.state_dict().items():
            if key not in own or own[key].shape != value.shape:
                raise ValueError(f"the teacher's {key} {tuple(value.shape)} does not fit this net")
            own[key].copy_(value)
        for _, conv in self.convolutions():
            conv.calibrate()
