"""Random weights of the schemes that are compared.

Density is exact, not drawn: over the first k filters of a layer the non-zero weights are the wanted
share of all, rounded down, so no filter is more than one weight away from it. Which weights these
are is drawn from the seed and the layer's name, the same for every scheme.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plum_hw.errors import ConfigError

#: Schemes of the middle layers. ``binary-offset`` is the same function as ``binary``.
SCHEMES = ("signed-binary", "binary", "binary-offset", "ternary", "int8")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a network of the zoo is drawn.

    *Parameters*: ``scheme`` of the middle layers, one of `SCHEMES`; ``density``, share of non-zero
    weights of signed-binary and ternary layers, above 0 and at most 1 (the other schemes have
    none); ``seed``, 0 or more; ``act_bits`` of all activations but the image, 2 to 8.

    Raises `ConfigError`.
    """

    scheme: str = "signed-binary"
    density: float = 0.35
    seed: int = 0
    act_bits: int = 8

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ConfigError(f"no scheme {self.scheme!r}; schemes are {', '.join(SCHEMES)}")
        if not 0 < self.density <= 1:
            raise ConfigError(f"density is {self.density:g}; it must be above 0 and at most 1")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; it must be 0 or more")
        if not 2 <= self.act_bits <= 8:
            raise ConfigError(f"act_bits is {self.act_bits}; it must be 2 to 8")


@dataclass(frozen=True)
class Drawn:
    """Weights of one layer.

    *Members*: ``weight`` int8; ``scheme`` and ``bits`` as the network file names them; ``offset``:
    +-1 weights are stored as {0, 1}, so the scale doubles and the window sum is subtracted.
    """

    weight: NDArray[np.int8]
    scheme: str
    bits: int
    offset: bool = False


def generator(seed: int, name: str) -> np.random.Generator:
    """What one layer is drawn from."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _exact_mask(ranks: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Mask [filters, weights] with the wanted share set: the weights of lowest rank."""
    filters, count = ranks.shape
    upto = np.floor(share * count * np.arange(filters + 1) + 1e-9).astype(np.int64)
    mask: NDArray[np.bool_] = ranks < np.diff(upto)[:, None]
    return mask


def draw_weights(
    rng: np.random.Generator, shape: tuple[int, ...], scheme: str, density: float
) -> Drawn:
    """Weights int8 of ``shape`` [filters, ...] in one of `SCHEMES`.

    signed-binary : the first half of the filters {0, +1}, the others {0, -1}
    binary, binary-offset : half of all weights +1
    int8 : normally distributed, the largest of each filter at +-127
    """
    filters = shape[0]
    ranks = rng.random((filters, int(np.prod(shape[1:])))).argsort(axis=1).argsort(axis=1)
    noise = rng.standard_normal(ranks.shape)
    if scheme == "int8":
        peak = np.maximum(np.abs(noise).max(axis=1, keepdims=True), 1e-9)
        return Drawn(np.rint(noise / peak * 127).astype(np.int8).reshape(shape), "int", 8)
    if scheme in ("binary", "binary-offset"):
        ones = _exact_mask(ranks, 0.5).reshape(shape)
        if scheme == "binary":
            return Drawn(np.where(ones, 1, -1).astype(np.int8), "binary", 1)
        return Drawn(ones.astype(np.int8), "signed_binary", 1, offset=True)
    mask = _exact_mask(ranks, density)
    if scheme == "ternary":
        return Drawn((mask * np.where(noise < 0, -1, 1)).astype(np.int8).reshape(shape), scheme, 2)
    sign = np.where(np.arange(filters) < (filters + 1) // 2, 1, -1)[:, None]
    return Drawn((mask * sign).astype(np.int8).reshape(shape), "signed_binary", 1)
