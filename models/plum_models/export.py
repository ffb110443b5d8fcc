"""From a trained network to integers: `python -m plum_models.export --checkpoint X -o Y.qnet`.

`integer_network` folds each unit into the constants of the network file, `integer_forward`
evaluates such a file in PyTorch. The latter shares no code with the golden reference of plum_hw, so
that the equality of the two says something.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from plum_hw.errors import PlumError
from plum_hw.ir import Conv, Dense, InputSpec, Layer, Network, Requant
from plum_models.checkpoint import load_checkpoint
from plum_models.data import LABELS, load_fashion
from plum_models.errors import ModelError
from plum_models.layers import AffineConstants, ConvUnit
from plum_models.networks import ResidualNet
from plum_models.quantizers import ActivationQuantizer
from plum_models.runtime import one_thread

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


def _conv(
    name: str,
    unit: ConvUnit,
    source: tuple[str, float],
    residual: tuple[str, ActivationQuantizer] | None = None,
) -> Conv:
    """One unit as a `conv`; source: name and step of the input, residual: name and quantizer."""
    assert unit.act is not None
    codes = unit.conv.codes()
    constants = unit.fold(source[1], None if residual is None else residual[1])
    shift, fields = to_fixed_point(constants, name)
    pad = unit.conv.padding
    return Conv(
        name=name,
        inputs=(source[0],) if residual is None else (source[0], residual[0]),
        weight=codes.codes.numpy(),
        scheme=codes.scheme,
        weight_bits=codes.bits,
        stride=unit.conv.stride[0],
        padding=(int(pad[0]), int(pad[1])),
        groups=1,
        requant=Requant(shift=shift, out_bits=unit.act.bits, **fields),
    )


def _dense(net: ResidualNet, source: tuple[str, float], pixels: int) -> Dense:
    """Pooling and classifier; all logits share one scale, so the multiplier is 1."""
    assert net.fc.quantizer is not None
    codes = net.fc.quantizer.codes(net.fc.weight)
    unit = codes.scale * source[1] / pixels  # real value of one step of each logit
    bias = torch.floor(net.fc.bias.double() / unit + 0.5)
    return Dense(
        name="fc",
        inputs=(source[0],),
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


@torch.no_grad()
def integer_network(
    net: ResidualNet, *, size: int = 28, labels: tuple[str, ...] | None = None
) -> Network:
    """The network file's content for a quantized net (evaluation mode) and square images."""
    if net.config.scheme == "full":
        raise ModelError("a full-precision network has no integer form: train a quantized scheme")

    def step(unit: ConvUnit) -> float:
        assert unit.act is not None
        return float(unit.act.step())

    layers: list[Layer] = [_conv("stem", net.stem, ("image", INPUT_STEP))]
    name, last = "stem", net.stem
    for block_name, block in net.blocks.items():
        source = (name, step(last))
        skip, skip_unit = name, last
        if block.shortcut is not None:
            skip, skip_unit = f"{block_name}.shortcut", block.shortcut
            layers.append(_conv(skip, block.shortcut, source))
        first = f"{block_name}.conv1"
        layers.append(_conv(first, block.conv1, source))
        name, last = f"{block_name}.conv2", block.conv2
        assert skip_unit.act is not None
        layers.append(_conv(name, last, (first, step(block.conv1)), (skip, skip_unit.act)))
    side = size
    for stride in net.config.strides:
        side = (side - 1) // stride + 1
    layers.append(_dense(net, (name, step(last)), side * side))
    return Network(
        name=net.config.name,
        input=InputSpec(name="image", shape=(1, size, size), bits=8),
        layers=tuple(layers),
        output="fc",
        labels=labels,
    )


def _exact_type(weight: Tensor, peak: int) -> torch.dtype:
    """A floating-point type in which no partial sum of weights times inputs can be rounded."""
    bound = max(int(weight.long().abs().flatten(1).sum(1).max()), weight[0].numel()) * peak
    if bound >= 2**53:
        raise ModelError(f"an accumulator of up to {bound} is not exact in double precision")
    return torch.float32 if bound < 2**24 else torch.float64


def _requantize(layer: Conv | Dense, acc: Tensor, window: Tensor, res: Tensor | None) -> Tensor:
    """The requantization of docs/network-file.md on int64; acc [N, K, P], window [N, 1, P]."""
    q = layer.requant

    def column(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.int64)).view(1, -1, 1)

    t = column(q.scale) * acc + column(q.bias)
    if q.window is not None:
        t += column(q.window) * window
    if q.residual is not None:
        assert res is not None
        t += column(q.residual) * res
    if q.out_bits == 32:
        return t
    t += 1 << (q.shift - 1)
    return (t >> q.shift).clamp_(0, 2**q.out_bits - 1)  # an arithmetic shift: the floor


@torch.no_grad()
def integer_forward(network: Network, images: Tensor) -> dict[str, Tensor]:
    """Output of every layer, int64 [N, C, H, W] (logits [N, K, 1, 1]), for uint8 images.

    Knows the operations that this package exports: conv with groups 1, and dense.
    """
    values = {network.input.name: images.long()}
    for layer in network.layers:
        x = values[layer.inputs[0]]
        res = values[layer.inputs[1]] if len(layer.inputs) == 2 else None
        if not isinstance(layer, (Conv, Dense)) or getattr(layer, "groups", 1) != 1:
            raise ModelError(f"layer {layer.name}: {layer.op} is not among the exported operations")
        weight = torch.from_numpy(layer.weight.copy())
        pixels = x.shape[2] * x.shape[3] if isinstance(layer, Dense) else 1
        kind = _exact_type(weight, pixels * 255)
        if isinstance(layer, Conv):
            rows, cols = layer.weight.shape[2:]
            columns = F.unfold(
                x.to(kind), (rows, cols), padding=tuple(layer.padding), stride=layer.stride
            )
            height = (x.shape[2] + 2 * layer.padding[0] - rows) // layer.stride + 1
        else:
            columns, height = x.sum((2, 3)).to(kind).unsqueeze(2), 1
        flat = None if res is None else res.flatten(2)
        acc = (weight.to(kind).flatten(1) @ columns).long()
        window = columns.sum(1, keepdim=True).long()
        out = _requantize(layer, acc, window, flat)
        values[layer.name] = out.unflatten(2, (height, -1))
    return values


def integer_logits(network: Network, images: Tensor, batch: int = 50) -> Tensor:
    """Logits of all images, int64 [N, K]."""
    with one_thread():
        parts = [
            integer_forward(network, images[i : i + batch])[network.output].flatten(1)
            for i in range(0, len(images), batch)
        ]
    return torch.cat(parts)


def save_samples(path: Path, images: Tensor, labels: Tensor) -> None:
    """Images uint8 [N, 1, H, W] and labels uint8 [N] as compressed npz, for the demo."""
    np.savez_compressed(path, images=images.numpy(), labels=labels.numpy().astype(np.uint8))


def main(
    checkpoint: Annotated[Path, typer.Option(help="trained network (.safetensors)")],
    output: Annotated[Path, typer.Option("--output", "-o", help="network file (.qnet)")],
    samples: Annotated[Path | None, typer.Option(help="also write test images, .npz")] = None,
    count: Annotated[int, typer.Option(help="how many of them")] = 500,
    data: Annotated[Path | None, typer.Option(help="folder of the idx files")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="report as JSON on stdout")] = False,
) -> None:
    """Export a trained network as a network file."""
    try:
        net = load_checkpoint(checkpoint).build()
        network = integer_network(net, labels=LABELS)
        network.save(output)
        if samples is not None:
            split = load_fashion(data, train=False).first(count)
            save_samples(samples, split.images, split.labels)
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
