"""From a trained network to integers: `python -m plum_models.export --checkpoint X -o Y.qnet`.

`integer_network` folds each unit into the constants of the network file; `integers.py` evaluates
such a file.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn

from plum_hw.errors import PlumError
from plum_hw.ir import Add, AvgPool, Conv, Dense, InputSpec, Layer, MaxPool, Network, Requant
from plum_models.checkpoint import load_checkpoint
from plum_models.datasets import LABELS, open_data
from plum_models.errors import ModelError
from plum_models.layers import AffineConstants, Classifier, ConvUnit, PoolUnit, PReluUnit
from plum_models.networks import NetworkConfig, Node, PlumNet

SHIFTS = (24, 20, 16, 12)
"""Shifts that every array has, most precise first."""
CONSTANT_LIMIT = 2**17
BIAS_LIMIT = 2**43
INPUT_STEP = 1 / 255
"""Real value of one level of the image."""


def to_fixed_point(constants: AffineConstants, name: str) -> tuple[int, dict[str, np.ndarray]]:
    """The largest shift at which all constants fit their fields, and the rounded constants."""
    for shift in SHIFTS:
        real = {"scale": constants.scale, "window": constants.window}
        if constants.residual is not None:
            real["residual"] = constants.residual
        rounded = {k: torch.floor(v * 2.0**shift + 0.5) for k, v in real.items()}
        if all(float(v.abs().max()) < CONSTANT_LIMIT for v in rounded.values()):
            bias = torch.floor(constants.bias * 2.0**shift + 0.5)
            if float(bias.abs().max()) >= BIAS_LIMIT:
                raise ModelError(
                    f"layer {name}: a bias of {float(bias.abs().max()):.3g} is too large"
                )
            if not rounded["window"].any():
                del rounded["window"]
            fixed = {k: v.numpy().astype(np.int32) for k, v in rounded.items()}
            return shift, {**fixed, "bias": bias.numpy().astype(np.int64)}
    peak = max(float(v.abs().max()) for v in real.values())
    raise ModelError(
        f"layer {name}: a constant of {peak:.3g} does not fit 17 bits at shift {SHIFTS[-1]}"
    )


@dataclass(frozen=True)
class _Tensor:
    """How the levels of a tensor stand for real values: (level - zero) * step."""

    step: float
    zero: int


class _Exporter:
    """Turns the nodes of a network into layers of the network file, one after the other."""

    def __init__(self, net: PlumNet) -> None:
        self.net = net
        self.layers: list[Layer] = []
        self.shapes: dict[str, tuple[int, int, int]] = {"image": net.config.image}

    def levels(self, name: str) -> _Tensor:
        """Step and zero point of a tensor."""
        act = self.net.quantizer_of(name)
        return _Tensor(INPUT_STEP, 0) if act is None else _Tensor(float(act.step()), act.zero_point)

    def add(self, layer: Layer) -> None:
        """Append a layer."""
        self.shapes[layer.name] = layer.output_shape(self.shapes[layer.source])
        self.layers.append(layer)

    def conv(self, node: Node, unit: ConvUnit) -> None:
        """One unit as a `conv`."""
        assert unit.act is not None
        codes, source = unit.conv.codes(), self.levels(node.source)
        act = None if node.residual is None else self.net.quantizer_of(node.residual)
        constants = unit.fold(source.step, act, input_zero=source.zero)
        shift, fields = to_fixed_point(constants, node.name)
        pad = unit.conv.padding
        self.add(
            Conv(
                name=node.name,
                inputs=(node.source, *([] if node.residual is None else [node.residual])),
                weight=codes.codes.numpy(),
                scheme=codes.scheme,
                weight_bits=codes.bits,
                stride=unit.conv.stride[0],
                padding=(int(pad[0]), int(pad[1])),
                groups=unit.conv.groups,
                requant=Requant(shift=shift, out_bits=unit.act.bits, **fields),
            )
        )

    def maxpool(self, node: Node, unit: nn.MaxPool2d) -> None:
        """Zeros around the map are never above what is inside, as with PyTorch's minus infinity."""
        kernel, padding = int(unit.kernel_size), int(unit.padding)
        self.add(
            MaxPool(
                name=node.name,
                inputs=(node.source,),
                kernel=(kernel, kernel),
                stride=int(unit.stride),
                padding=(padding, padding),
            )
        )

    def avgpool(self, node: Node, unit: PoolUnit) -> None:
        """A mean of 2x2 pixels."""
        act = self.net.quantizer_of(node.source)
        assert act is not None
        assert unit.act is not None
        constants = unit.fold(self.shapes[node.source][0], act)
        shift, fields = to_fixed_point(constants, node.name)
        requant = Requant(shift=shift, out_bits=unit.act.bits, **fields)
        self.add(
            AvgPool(name=node.name, inputs=(node.source,), kernel=(2, 2), stride=2, requant=requant)
        )

    def prelu(self, node: Node, unit: PReluUnit) -> None:
        """The positive part by a depthwise layer of weight 1, then the weighted sum of both."""
        act = self.net.quantizer_of(node.source)
        assert act is not None
        assert unit.act is not None
        positive, channels = f"{node.name}.positive", self.shapes[node.source][0]
        one = np.full(channels, 1 << SHIFTS[-1], np.int32)
        self.add(
            Conv(
                name=positive,
                inputs=(node.source,),
                weight=np.ones((channels, 1, 1, 1), np.int8),
                scheme="int",
                weight_bits=2,
                stride=1,
                padding=(0, 0),
                groups=channels,
                requant=Requant(
                    scale=one,
                    bias=-act.zero_point * one.astype(np.int64),
                    shift=SHIFTS[-1],
                    out_bits=act.bits,
                ),
            )
        )
        shift, fields = to_fixed_point(unit.fold(act), node.name)
        requant = Requant(shift=shift, out_bits=unit.act.bits, **fields)
        self.add(Add(name=node.name, inputs=(node.source, positive), requant=requant))

    def logits(self, node: Node, unit: Classifier) -> None:
        """Pooling and classifier; all logits share one scale, so the multiplier is 1."""
        assert unit.quantizer is not None
        codes, source = unit.quantizer.codes(unit.weight), self.levels(node.source)
        _, height, width = self.shapes[node.source]
        pixels = height * width
        one = codes.scale * source.step / pixels  # real value of one step of each logit
        bias = torch.floor(unit.bias.double() / one + 0.5)
        bias -= source.zero * pixels * codes.codes.double().sum(1)
        self.add(
            Dense(
                name=node.name,
                inputs=(node.source,),
                weight=codes.codes.numpy(),
                scheme=codes.scheme,
                weight_bits=codes.bits,
                requant=Requant(
                    scale=np.ones(len(bias), np.int32),
                    bias=bias.numpy().astype(np.int64),
                    shift=0,
                    out_bits=32,
                ),
            )
        )


@torch.no_grad()
def integer_network(net: PlumNet, *, labels: tuple[str, ...] | None = None) -> Network:
    """The network file's content for a quantized net (evaluation mode, on the CPU)."""
    if net.config.scheme == "full":
        raise ModelError("a full-precision network has no integer form: train a quantized scheme")
    exporter = _Exporter(net)
    for node in net.nodes:
        getattr(exporter, node.kind)(node, net.unit(node.name))
    return Network(
        name=net.config.name,
        input=InputSpec(name="image", shape=net.config.image, bits=8),
        layers=tuple(exporter.layers),
        output=net.nodes[-1].name,
        labels=labels,
    )


def labels_for(config: NetworkConfig, kind: str, data: Path | None) -> tuple[str, ...] | None:
    """Names of the classes: those of the data set, where it is known and has as many."""
    labels: tuple[str, ...] | None = LABELS.get(kind)
    if labels is None and data is not None:
        labels = open_data(kind, data).labels
    return labels if labels is not None and len(labels) == config.classes else None


def save_samples(path: Path, images: Tensor, labels: Tensor) -> None:
    """Images uint8 [N, C, H, W] and labels uint8 [N] as compressed npz, for the demo."""
    np.savez_compressed(path, images=images.numpy(), labels=labels.numpy().astype(np.uint8))


def main(
    checkpoint: Annotated[Path, typer.Option(help="trained network (.safetensors)")],
    output: Annotated[Path, typer.Option("--output", "-o", help="network file (.qnet)")],
    samples: Annotated[Path | None, typer.Option(help="also write test images, .npz")] = None,
    count: Annotated[int, typer.Option(help="how many of them", min=1)] = 500,
    data: Annotated[Path | None, typer.Option(help="folder or file of the data set")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="report as JSON on stdout")] = False,
) -> None:
    """Export a trained network as a network file."""
    try:
        found = load_checkpoint(checkpoint)
        kind = str(found.training.get("data", "fashion"))
        network = integer_network(found.build(), labels=labels_for(found.network, kind, data))
        network.save(output)
        if samples is not None:
            split = open_data(kind, data, size=found.network.image[1]).split(train=False)
            chosen = min(count, len(split))
            save_samples(samples, split.pixels(0, chosen), split.labels[:chosen])
    except (PlumError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    report = {
        "network": network.name,
        "layers": len(network.layers),
        "bytes": output.stat().st_size,
    }
    print(json.dumps(report) if as_json else f"{output}: {report['layers']} layers")


if __name__ == "__main__":
    typer.run(main)
