"""Weights as digits, and digits as mask words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.int64]
NIBBLE_BITS = 4


def naf(weights: Array) -> tuple[Array, Array]:
    """Positive and negative digits of weights in non-adjacent form, each put together again.

    Both have the shape of ``weights`` and are at least 0; ``weights == positive - negative``.
    """
    triple = 3 * weights
    digits = triple ^ weights
    return (triple & digits) >> 1, (weights & digits) >> 1


def split_signs(weights: Array, low: int) -> tuple[Array, Array]:
    """Weights as ``positive - negative``, both at least 0: the low digits of all weights positive,
    the rest in non-adjacent form.

    ``low`` 0 has the fewest digits, so the fewest beats where mask words hold many weights. Low
    digits need masks of one sign only: fewer words and drains where few weights share them.
    """
    positive, negative = naf(weights >> low)
    return (positive << low) + (weights & ((1 << low) - 1)), negative << low


def split_stages(values: list[Array], limit: int) -> list[list[Array]]:
    """Split one sign of a column into stages, lowest first: stage i counts 16**i times.

    Everything is one stage if the sum of every filter's ``values`` (of one run each) stays within
    ``limit``, which saves drains; else each stage is a nibble.
    """
    if int(sum(run.sum(axis=1) for run in values).max()) <= limit:
        return [values]
    stages = []
    while any(run.any() for run in values):
        stages.append([run & ((1 << NIBBLE_BITS) - 1) for run in values])
        values = [run >> NIBBLE_BITS for run in values]
    return stages


def pack_masks(bits: Array, mask_bits: int) -> NDArray[np.uint32]:
    """Bits [filters, length] to mask words [filters, ceil(length / mask_bits)], bit 0 first."""
    filters, length = bits.shape
    padded = np.zeros((filters, -(-length // mask_bits), 32), np.uint8)
    for word in range(padded.shape[1]):
        part = bits[:, word * mask_bits : (word + 1) * mask_bits]
        padded[:, word, : part.shape[1]] = part
    return np.packbits(padded, axis=2, bitorder="little").view("<u4")[:, :, 0].astype(np.uint32)
