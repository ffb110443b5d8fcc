"""Exact evaluation of a network file in PyTorch.

It shares no code with the golden reference of plum_hw, so that the equality of the two says
something.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from plum_hw.ir import Add, AvgPool, Conv, Dense, MaxPool, Network, Requant
from plum_models.errors import ModelError
from plum_models.runtime import one_thread


def _exact_type(weight: Tensor, peak: int) -> torch.dtype:
    """A floating-point type in which no partial sum of weights times inputs can be rounded."""
    bound = max(int(weight.long().abs().flatten(1).sum(1).max()), weight[0].numel()) * peak
    if bound >= 2**53:
        raise ModelError(f"an accumulator of up to {bound} is not exact in double precision")
    return torch.float32 if bound < 2**24 else torch.float64


def _requantize(q: Requant, acc: Tensor, window: Tensor, res: Tensor | None) -> Tensor:
    """The requantization of docs/network-file.md on int64; acc [N, K, P], window [N, 1, P]."""

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


def _windows(x: Tensor, kernel: tuple[int, int], stride: int, padding: tuple[int, int]) -> Tensor:
    """What each output pixel sees, [N, C, R*S, P]; zeros around the map."""
    columns = F.unfold(x, kernel, padding=padding, stride=stride)
    return columns.unflatten(1, (x.shape[1], -1))


def _conv(layer: Conv, x: Tensor, res: Tensor | None) -> Tensor:
    weight = torch.from_numpy(layer.weight.copy())
    kind = _exact_type(weight, 255)
    seen = _windows(x.to(kind), layer.kernel, layer.stride, layer.padding)
    flat = weight.to(kind).flatten(1)
    if layer.groups == 1:
        columns = seen.flatten(1, 2)
        acc, window = flat @ columns, columns.sum(1, keepdim=True)
    else:
        acc = (flat.unsqueeze(2) * seen).sum(2)
        window = torch.zeros_like(acc[:, :1])
    return _requantize(layer.requant, acc.long(), window.long(), res)


def _dense(layer: Dense, x: Tensor) -> Tensor:
    weight = torch.from_numpy(layer.weight.copy())
    kind = _exact_type(weight, 255 * x.shape[2] * x.shape[3])
    pooled = x.sum((2, 3)).to(kind).unsqueeze(2)
    acc = weight.to(kind) @ pooled
    return _requantize(layer.requant, acc.long(), pooled.sum(1, keepdim=True).long(), None)


@torch.no_grad()
def integer_forward(network: Network, images: Tensor) -> dict[str, Tensor]:
    """Output of every layer, int64 [N, C, H, W] (logits [N, K, 1, 1]), for uint8 images."""
    values = {network.input.name: images.long()}
    for layer in network.layers:
        x = values[layer.inputs[0]]
        res = values[layer.inputs[1]].flatten(2) if len(layer.inputs) == 2 else None
        if isinstance(layer, Conv):
            out = _conv(layer, x, res)
        elif isinstance(layer, Dense):
            out = _dense(layer, x)
        elif isinstance(layer, MaxPool):
            seen = _windows(x.double(), layer.kernel, layer.stride, layer.padding)
            out = seen.amax(2).long()
        elif isinstance(layer, AvgPool):
            seen = _windows(x.double(), layer.kernel, layer.stride, layer.padding)
            out = _requantize(layer.requant, seen.sum(2).long(), seen, None)
        elif isinstance(layer, Add):
            out = _requantize(layer.requant, x.flatten(2), x, res)
        else:
            raise ModelError(f"layer {layer.name}: {layer.op} is not among the known operations")
        height = network.shape_of(layer.name)[1]
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
