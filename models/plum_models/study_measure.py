"""What a trained network costs: effectual weights, adds, repeated patterns, latent weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plum_models.networks import PlumNet

GROUPS = (1, 2, 3, 4, 5, 6, 7, 8)
"""Weights in a chunk, T: what repeats within a chunk is added once."""
BINS = 81


def nonzero_digits(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Non-zero digits of each integer in non-adjacent form: adds that a weight of n bits takes."""
    value = np.abs(codes)
    return np.bitwise_count(value ^ (3 * value)).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer that takes the scheme.

    *Members*: ``weights``, ``effectual`` of them; ``pixels`` of the output; ``adds`` an image by
    sign groups (every effectual weight once); ``offset_adds``: +-1 weights as 2*{0,1} - 1, with one
    window sum for the layer (None where weights are not +-1); adds of a window sum that the scheme
    needs are counted in both.
    """

    name: str
    weights: int
    effectual: int
    pixels: int
    adds: int
    offset_adds: int | None


def output_pixels(net: PlumNet) -> dict[str, int]:
    """Pixels of each convolution's output, by running one image."""
    found: dict[str, int] = {}
    handles = []
    for name, conv in net.convolutions():

        def note(_conv: Any, _inputs: Any, out: Tensor, name: str = name) -> None:
            found[name] = out.shape[2] * out.shape[3]

        handles.append(conv.register_forward_hook(note))
    device = next(net.parameters()).device
    with torch.no_grad():
        net.eval()(torch.zeros((1, *net.config.image), device=device))
    for handle in handles:
        handle.remove()
    return found


def costs(net: PlumNet) -> list[LayerCost]:
    """The cost of each layer that takes the scheme."""
    pixels, found = output_pixels(net), []
    for name, conv in net.convolutions(body=True):
        if conv.quantizer is None:
            continue
        codes = conv.codes()
        values = codes.codes.long().numpy()
        window = int(np.prod(values.shape[1:])) * pixels[name]
        offset = bool(codes.offset.any())
        adds = int(nonzero_digits(values).sum()) * pixels[name] + window * offset
        trick = None
        if codes.scheme == "binary":
            trick = int((values > 0).sum()) * pixels[name] + window
        found.append(
            LayerCost(
                name=name,
                weights=values.size,
                effectual=int((values != 0).sum()),
                pixels=pixels[name],
                adds=adds,
                offset_adds=trick,
            )
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """Repetition in one layer for chunks of T inputs, over all chunks.

    *Members*: ``patterns``: different ones of a chunk among the filters; ``adds`` per weight where
    each pattern of a chunk is summed once and then added once in each filter that has it.
    """

    group: int
    patterns: float
    adds: float


def repetition(codes: NDArray[np.int64], group: int) -> Repetition:
    """Count patterns and adds of weights [K, C, R, S] of -1, 0, +1 in chunks of `group` inputs.

    Chunks run along the channels of one kernel position, as the array's words do. A pattern and its
    negative are one: the sum is subtracted. A filter of one sign adds only.
    """
    filters = codes.shape[0]
    flat = codes.transpose(0, 2, 3, 1).reshape(filters, -1, codes.shape[1])
    chunks = -(-codes.shape[1] // group)
    padded = np.zeros((filters, flat.shape[1], chunks * group), np.int64)
    padded[:, :, : codes.shape[1]] = flat
    words = padded.reshape(filters, -1, group)
    sums = uses = kinds = 0
    for chunk in range(words.shape[1]):
        word = words[:, chunk]
        first = np.where(word != 0, word, 0)
        lead = first[np.arange(filters), (word != 0).argmax(1)]
        word = word * np.where(lead < 0, -1, 1)[:, None]
        unique = np.unique(word, axis=0)
        sizes = np.count_nonzero(unique, axis=1)
        kinds += len(unique)
        sums += int(np.maximum(sizes - 1, 0).sum())
        uses += int((lead != 0).sum())
    return Repetition(group=group, patterns=kinds / words.shape[1], adds=(sums + uses) / codes.size)


def repetitions(net: PlumNet) -> list[Repetition]:
    """Mean over the layers that take the scheme, weighted by their weights, for each T."""
    layers = [
        (conv.codes().codes.long().numpy(), conv.weight.numel())
        for _, conv in net.convolutions(body=True)
        if conv.quantizer is not None and conv.groups == 1
    ]
    total = sum(size for _, size in layers)
    found = []
    for group in GROUPS:
        each = [(repetition(codes, group), size) for codes, size in layers]
        found.append(
            Repetition(
                group=group,
                patterns=sum(item.patterns * size for item, size in each) / total,
                adds=sum(item.adds * size for item, size in each) / total,
            )
        )
    return found


def histograms(net: PlumNet) -> dict[str, dict[str, list[float]]]:
    """Latent weights of each layer, divided by its largest: edges, counts, and of the effectual."""
    found = {}
    for name, conv in net.convolutions(body=True):
        if conv.quantizer is None:
            continue
        latent = conv.weight.detach().numpy().ravel()
        latent = latent / max(float(np.abs(latent).max()), 1e-12)
        effectual = conv.codes().codes.numpy().ravel() != 0
        edges = np.linspace(-1, 1, BINS)
        found[name] = {
            "edges": edges.tolist(),
            "all": np.histogram(latent, edges)[0].tolist(),
            "effectual": np.histogram(latent[effectual], edges)[0].tolist(),
        }
    return found
