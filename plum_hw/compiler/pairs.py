"""Pairs of filters that share additions.

All lanes add the same inputs, so what two filters have in common needs adding once. A pass of a
pair (a, b) has chains for every combination of signs that its weights have: first those of a alone,
then those of both, whose lanes are drained twice, then those of b alone.
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
#: Signs of the weights of a and b, in the order of their chains: a alone, both, b alone.
_ALONE_A = ((1, 0), (-1, 0))
_BOTH = ((1, 1), (1, -1), (-1, 1), (-1, -1))
_ALONE_B = ((0, 1), (0, -1))


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
    builder.chains(both, _ALONE_A, 0)
    builder.chains(both, _BOTH, 0)
    builder.chains(both, _ALONE_B, 1)
    builder.complete(residual, first, second)
    return dataclasses.replace(
        single,
        segments=tuple(builder.segments),
        words=np.concatenate(builder.words, axis=1),
        filters=tuple(channel for pair in pairs for channel in pair),
        pair=True,
    )


def _split(
    column: Column, first: list[int], second: list[int]
) -> tuple[int, list[tuple[int, Array, Array]]]:
    """Shift of a column, and of each run the offset and the weights of both filters."""

    def rows(run: Run, channels: list[int]) -> Array:
        weights = run.weights[channels]
        weights[[channel < 0 for channel in channels]] = 0
        return weights

    return column.shift, [(run.offset, rows(run, first), rows(run, second)) for run in column.runs]


class _Pairs:
    """Segments and mask words of pairs, as they come."""

    def __init__(self, config: ArrayConfig, peak: int, passes: int) -> None:
        self.config = config
        self.limit = ((1 << config.acc_bits) - 1) // peak
        self.passes = passes
        self.segments: list[Segment] = []
        self.words: list[NDArray[np.uint32]] = []
        self.opened = [False, False]

    def chains(
        self,
        columns: Sequence[tuple[int, list[tuple[int, Array, Array]]]],
        signs: Sequence[tuple[int, int]],
        bank: int,
    ) -> None:
        """Chains of all columns for some combinations of signs."""
        for shift, runs in columns:
            for sign_a, sign_b in signs:
                pieces = [
                    Piece(offset, 0, ((a == sign_a) & (b == sign_b)).astype(np.int64))
                    for offset, a, b in runs
                ]
                for chain in chains_of(self.config, pieces, self.limit):
                    self._chain(chain)
                    if sign_a and sign_b:
                        self._drain(0, shift, sign_a)
                        self._add(Segment(0, 1, Start.KEEP), np.zeros((self.passes, 1), np.uint32))
                        self._drain(1, shift, sign_b)
                    else:
                        self._drain(bank, shift, sign_a or sign_b)

    def complete(self, residual: bool, first: list[int], second: list[int]) -> None:
        """Mark what completes each filter, and read residuals before each filter's last chain."""
        # Without any weight, a beat that adds nothing; the first filter is complete first.
        nothing = Segment(0, 1, Start.CLEAR, drain=True)
        for bank, at in ((0, 0), (1, len(self.segments) + 1)):
            if not self.opened[bank]:
                self.segments.insert(at, dataclasses.replace(nothing, bank=bank))
                self.words.insert(at, np.zeros((self.passes, 1), np.uint32))
        for bank, channels in ((0, first), (1, second)):
            last = max(i for i, s in enumerate(self.segments) if s.drain and s.bank == bank)
            self.segments[last] = dataclasses.replace(self.segments[last], emit=True)
            if residual:
                at = self._chain_start(last)
                words = np.maximum(np.array(channels, np.int64), 0).astype(np.uint32)
                self.segments.insert(at, dataclasses.replace(RESIDUAL, bank=bank))
                self.words.insert(at, words[:, None])

    def _chain_start(self, index: int) -> int:
        """First segment of the chain that a segment is of: the last that clears the lanes."""
        return max(i for i in range(index + 1) if self.segments[i].start == Start.CLEAR)

    def _chain(self, pieces: list[Piece]) -> None:
        start = Start.CLEAR
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
