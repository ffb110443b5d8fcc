"""Pairs of filters that share additions.

All lanes add the same inputs, so what two filters have in common needs adding once. A pass of a
pair (a, b) adds for each kernel column and sign of a first what both have, which is drained for b,
goes on with what a has alone, which is drained for a with all of that, and adds what b has alone
last. Where weights have two signs, what both have with the rarer sign of b is drained for both.
Ref: docs/architecture.md, "Repetition: pairs of filters".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plum_hw.config import ArrayConfig
from plum_hw.layouts import DrainOp, Start

from .columns import Column, Run, Weights
from .segments import RESIDUAL, Masks, Piece, Segment, chains_of, run_segments

Array = NDArray[np.int64]
_SIGNS = (1, -1)
#: Shift of a kernel column, and of each of its runs the offset and the weights of the first and of
#: the second filter of all passes.
_Column = tuple[int, list[tuple[int, Array, Array]]]


def can_pair(config: ArrayConfig, weights: Weights, peak: int) -> bool:
    """Whether pairs are of use: filters of their own with weights -1, 0 and +1 whose partial sums
    fit in any order.
    """
    if weights.shared or weights.maximum or weights.filters < 2:
        return False
    magnitudes = [np.abs(run.weights) for column in weights.columns for run in column.runs]
    if max(int(run.max(initial=0)) for run in magnitudes) > 1:
        return False
    worst = peak * int(sum(run.sum(axis=1) for run in magnitudes).max())
    return worst < 1 << (config.sum_bits - 1)


def choose_pairs(weights: Weights, filters: Sequence[int]) -> list[tuple[int | None, int]]:
    """Filters (channels) as pairs, those first that share most; one may be left without a first."""
    flat = np.concatenate(
        [run.weights[list(filters)] for column in weights.columns for run in column.runs], axis=1
    )
    used = (flat != 0).astype(np.float32)
    shared = used @ used.T
    np.fill_diagonal(shared, -1)
    left = set(range(len(filters)))
    pairs: list[tuple[int | None, int]] = []
    for index in np.argsort(-shared, axis=None, kind="stable").tolist():
        a, b = divmod(index, len(filters))
        if a in left and b in left and a != b:
            left -= {a, b}
            pairs.append((filters[a], filters[b]))
    # The pass without a first filter is the last one.
    return pairs + [(None, filters[index]) for index in left]


def pair_masks(
    config: ArrayConfig,
    weights: Weights,
    single: Masks,
    pairs: Sequence[tuple[int | None, int]],
    peak: int,
    *,
    residual: bool,
) -> Masks:
    """Masks of pairs. ``single``: those of the same filters one by one, for the window sum."""
    first = [-1 if a is None else a for a, _ in pairs]
    second = [b for _, b in pairs]
    builder = _Pairs(config, peak, len(pairs))
    both = [_split(column, first, second) for column in weights.columns]
    # What the second has alone stands before and after: so that the emissions of the pass before
    # have time until either bank is opened.
    for sign in _SIGNS:
        builder.second_alone(both[0], sign)
    for column in both:
        for sign in _SIGNS:
            builder.with_first(column, sign)
    for column in both[1:]:
        for sign in _SIGNS:
            builder.second_alone(column, sign)
    builder.complete(residual, first, second)
    return dataclasses.replace(
        single,
        segments=tuple(builder.segments),
        words=np.concatenate(builder.words, axis=1),
        filters=tuple(channel for pair in pairs for channel in pair),
        pair=True,
    )


def _split(column: Column, first: list[int], second: list[int]) -> _Column:
    """The weights of the filters of all passes."""

    def rows(run: Run, channels: list[int]) -> Array:
        weights = run.weights[channels]
        weights[[channel < 0 for channel in channels]] = 0
        return weights

    return column.shift, [(run.offset, rows(run, first), rows(run, second)) for run in column.runs]


def _pieces(column: _Column, sign_a: int, sign_b: int) -> list[Piece]:
    """Where the weights of both filters have these signs."""
    return [
        Piece(offset, 0, ((a == sign_a) & (b == sign_b)).astype(np.int64))
        for offset, a, b in column[1]
    ]


def _total(pieces: list[Piece]) -> int:
    """Weights of all passes."""
    return sum(int(piece.values.sum()) for piece in pieces)


def _most(pieces: list[Piece]) -> int:
    """Most weights of a pass."""
    return int(sum(piece.values.sum(axis=1) for piece in pieces).max())


class _Pairs:
    """Segments and mask words of pairs, as they come."""

    def __init__(self, config: ArrayConfig, peak: int, passes: int) -> None:
        self.config = config
        self.limit = ((1 << config.acc_bits) - 1) // peak
        self.passes = passes
        self.segments: list[Segment] = []
        self.words: list[NDArray[np.uint32]] = []
        self.opened = [False, False]

    def with_first(self, column: _Column, sign: int) -> None:
        """What a column adds to the first filter with one sign, and of this to the second."""
        shift = column[0]
        alone = _pieces(column, sign, 0)
        seldom, often = sorted(_SIGNS, key=lambda other: _total(_pieces(column, sign, other)))
        for chain in chains_of(self.config, _pieces(column, sign, seldom), self.limit):
            self._both(chain, shift, sign, seldom)
        shared = _pieces(column, sign, often)
        if _total(shared) and _total(alone) and _most([*shared, *alone]) <= self.limit:
            self._chain(shared)
            self._drain(1, shift, often)
            self._chain(alone, Start.KEEP)
            self._drain(0, shift, sign)
            return
        for chain in chains_of(self.config, shared, self.limit):
            self._both(chain, shift, sign, often)
        for chain in chains_of(self.config, alone, self.limit):
            self._chain(chain)
            self._drain(0, shift, sign)

    def second_alone(self, column: _Column, sign: int) -> None:
        """What a column adds to the second filter only, with one sign."""
        for chain in chains_of(self.config, _pieces(column, 0, sign), self.limit):
            self._chain(chain)
            self._drain(1, column[0], sign)

    def _both(self, chain: list[Piece], shift: int, sign_a: int, sign_b: int) -> None:
        """A chain that is drained for one filter, and once more for the other."""
        self._chain(chain)
        self._drain(0, shift, sign_a)
        self._add(Segment(0, 1, Start.KEEP), self._nothing())
        self._drain(1, shift, sign_b)

    def complete(self, residual: bool, first: list[int], second: list[int]) -> None:
        """Mark what completes each filter, and read residuals before each filter's last chain."""
        if not self.opened[0]:
            self.segments.insert(0, Segment(0, 1, Start.CLEAR, drain=True))
            self.words.insert(0, self._nothing())
        if self._last(1) < self._last(0):
            # The first filter is complete first.
            self._add(Segment(0, 1, Start.CLEAR), self._nothing())
            self._drain(1, 0, 1)
        for bank, channels in ((0, first), (1, second)):
            last = self._last(bank)
            self.segments[last] = dataclasses.replace(self.segments[last], emit=True)
            if residual:
                at = max(i for i in range(last + 1) if self.segments[i].start == Start.CLEAR)
                words = np.maximum(np.array(channels, np.int64), 0).astype(np.uint32)
                self.segments.insert(at, dataclasses.replace(RESIDUAL, bank=bank))
                self.words.insert(at, words[:, None])

    def _last(self, bank: int) -> int:
        """The segment with a bank's last drain, -1 without one."""
        drains = [i for i, each in enumerate(self.segments) if each.drain and each.bank == bank]
        return drains[-1] if drains else -1

    def _nothing(self) -> NDArray[np.uint32]:
        return np.zeros((self.passes, 1), np.uint32)

    def _chain(self, pieces: list[Piece], start: Start = Start.CLEAR) -> None:
        for piece in pieces:
            for segment, words in run_segments(self.config, piece.offset, piece.values, start):
                self._add(segment, words)
                start = Start.KEEP

    def _add(self, segment: Segment, words: NDArray[np.uint32]) -> None:
        self.segments.append(segment)
        self.words.append(words)

    def _drain(self, bank: int, shift: int, sign: int) -> None:
        op = DrainOp.ADD if self.opened[bank] else DrainOp.SET
        self.opened[bank] = True
        self.segments[-1] = dataclasses.replace(
            self.segments[-1], drain=True, shift=shift, op=op, negate=sign < 0, bank=bank
        )
