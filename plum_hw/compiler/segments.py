"""Segments and mask words: weights as sums of unsigned groups that no accumulator overflows.

A weight is split into digits of its non-adjacent form (no two neighbours are non-zero, so weights
near zero have few), or into unsigned ones below the top digit if that takes fewer cycles. For each
kernel column and each sign the lanes add up a *chain* of digits from the top down, doubling in
between, and are drained. Where a lane accumulator cannot hold a whole column so, it is added up in
stages of four digits (nibbles), from the top stage down.
Ref: docs/architecture.md, "Numbers" and "Segments".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plum_hw.config import ArrayConfig
from plum_hw.layouts import DrainOp, Start, segment_layout

from .columns import Column, Weights
from .digits import NIBBLE_BITS, Array, pack_masks, split_signs, split_stages
from .problems import Refusal


@dataclass(frozen=True)
class Segment:
    """One segment descriptor. *Members*: the fields of `plum_hw.layouts.segment_layout`."""

    offset: int
    words: int
    start: Start
    drain: bool
    shift: int
    op: DrainOp
    negate: bool

    def pack(self, config: ArrayConfig) -> int:
        """The descriptor's word."""
        return segment_layout(config).pack(
            offset=self.offset,
            words=self.words,
            start=self.start,
            drain=self.drain,
            shift=self.shift if self.drain else 0,
            op=self.op if self.drain else 0,
            negate=self.negate and self.drain,
        )[0]


@dataclass(frozen=True)
class Masks:
    """Masks of a layer.

    *Members*: ``segments``; ``words`` of each filter, uint32 [filters, words], the window-sum
    filter first if ``window``, a single row for all filters if ``shared``.
    """

    segments: tuple[Segment, ...]
    words: NDArray[np.uint32]
    window: bool
    shared: bool


@dataclass(frozen=True)
class _Piece:
    """Part of a run in one chain.

    *Members*: ``offset`` of its first address; ``tap``, number of its first weight in the column;
    ``values`` [filters, length], all at least 0.
    """

    offset: int
    tap: int
    values: Array

    def part(self, first: int, last: int | None) -> _Piece:
        """The piece from weight ``first`` to before ``last``."""
        return _Piece(self.offset + first, self.tap + first, self.values[:, first:last])


class _Sums:
    """Exact worst cases of the drain accumulators while a filter is added up.

    Knows the coefficient of every input so far. Inputs are independent and reach from 0 to peak, so
    a sum reaches from peak times the negative coefficients to peak times the positive ones.
    """

    def __init__(self, columns: tuple[Column, ...], peak: int) -> None:
        self._coefficients = [
            np.concatenate([np.zeros_like(run.weights) for run in column.runs], axis=1)
            for column in columns
        ]
        self._low = np.zeros(len(self._coefficients[0]), np.int64)
        self._high = np.zeros_like(self._low)
        self._peak = peak
        self.worst = 0

    def drain(self, op: DrainOp, column: int, pieces: list[_Piece], sign: int) -> None:
        """A chain of one column is drained."""
        if op != DrainOp.ADD:
            factor = 1 << NIBBLE_BITS if op == DrainOp.NIBBLE else 0
            for array in (*self._coefficients, self._low, self._high):
                array *= factor
        for piece in pieces:
            length = piece.values.shape[1]
            part = self._coefficients[column][:, piece.tap : piece.tap + length]
            self._low -= np.minimum(part, 0).sum(axis=1)
            self._high -= np.maximum(part, 0).sum(axis=1)
            part += sign * piece.values
            self._low += np.minimum(part, 0).sum(axis=1)
            self._high += np.maximum(part, 0).sum(axis=1)
        high, low = int(self._high.max()), int(-self._low.min())
        # Two's complement reaches one further below zero than above.
        self.worst = max(self.worst, self._peak * high, self._peak * low - 1)


class _Builder:
    """Segments and mask words of one layer, as they come."""

    def __init__(self, config: ArrayConfig, columns: tuple[Column, ...], peak: int) -> None:
        self.config = config
        self.filters = columns[0].runs[0].weights.shape[0]
        self.limit = ((1 << config.acc_bits) - 1) // peak
        self.max_words = segment_layout(config).fields[1].high
        self.sums = _Sums(columns, peak)
        self.segments: list[Segment] = []
        self.words: list[NDArray[np.uint32]] = []

    # ---- chains ----------------------------------------------------------------------------------

    def chains(self, pieces: list[_Piece]) -> Iterator[list[_Piece]]:
        """Split one sign's values into chains that no lane accumulator overflows.

        A single value beyond the accumulator's limit goes into several chains, in parts.
        """
        while any(piece.values.any() for piece in pieces):
            part = [
                _Piece(piece.offset, piece.tap, np.minimum(piece.values, self.limit))
                for piece in pieces
            ]
            yield from self._split(part)
            pieces = [
                _Piece(piece.offset, piece.tap, piece.values - done.values)
                for piece, done in zip(pieces, part, strict=True)
            ]

    def _split(self, pieces: list[_Piece]) -> Iterator[list[_Piece]]:
        """Cut runs where the sum of a filter would pass the limit, at a word's end if possible."""
        chain: list[_Piece] = []
        total = np.zeros(self.filters, np.int64)
        for rest in pieces:
            while rest.values.shape[1]:
                sums = total[:, None] + np.cumsum(rest.values, axis=1)
                length = rest.values.shape[1]
                fits = int((sums.max(axis=0) <= self.limit).sum())
                if fits < length and fits > self.config.mask_bits:
                    fits -= fits % self.config.mask_bits
                if fits:
                    chain.append(rest.part(0, fits))
                    total = sums[:, fits - 1]
                    rest = rest.part(fits, None)
                if fits < length:
                    yield chain
                    chain, total = [], np.zeros(self.filters, np.int64)
        if any(piece.values.any() for piece in chain):
            yield chain

    # ---- emission of segments --------------------------------------------------------------------

    def chain(self, column: int, shift: int, pieces: list[_Piece], op: DrainOp, sign: int) -> None:
        """Segments of one chain: its digits from the top down, then the drain."""
        top = max(int(piece.values.max(initial=0)) for piece in pieces).bit_length()
        first = len(self.segments)
        for digit in reversed(range(max(top, 1))):
            start = Start.CLEAR if len(self.segments) == first else Start.DOUBLE
            added = False
            for piece in pieces:
                bits = (piece.values >> digit) & 1
                if bits.any():
                    self._run(piece.offset, bits, Start.KEEP if added else start)
                    added = True
            if not added:
                # No filter has this digit here: one beat that adds nothing, but doubles or clears.
                self._segment(pieces[0].offset, np.zeros((self.filters, 1), np.int64), start)
        last = self.segments[-1]
        self.segments[-1] = Segment(
            last.offset, last.words, last.start, True, shift, op, negate=sign < 0
        )
        self.sums.drain(op, column, pieces, sign)

    def _run(self, offset: int, bits: Array, start: Start) -> None:
        """Segments of one run, without the ends where no filter has a bit."""
        used = np.flatnonzero(bits.any(axis=0))
        offset, bits = offset + int(used[0]), bits[:, used[0] : used[-1] + 1]
        step = self.max_words * self.config.mask_bits
        for at in range(0, bits.shape[1], step):
            self._segment(offset + at, bits[:, at : at + step], Start.KEEP if at else start)

    def _segment(self, offset: int, bits: Array, start: Start) -> None:
        words = pack_masks(bits, self.config.mask_bits)
        self.segments.append(
            Segment(offset, words.shape[1], start, False, 0, DrainOp.SET, negate=False)
        )
        self.words.append(words)

    # ---- result ----------------------------------------------------------------------------------

    def cost(self) -> int:
        """Cycles that a vector takes lanes and drain, over all filters."""
        total = 0
        beats = np.zeros(self.filters, np.int64)
        for segment, words in zip(self.segments, self.words, strict=True):
            beats += np.maximum(np.bitwise_count(words), 1).sum(axis=1, dtype=np.int64)
            if segment.drain:
                total += int(np.maximum(beats, self.config.groups).sum())
                beats[:] = 0
        return total

    def masks(self, weights: Weights) -> Masks:
        """All that was built."""
        words = np.concatenate(self.words, axis=1)
        return Masks(tuple(self.segments), words, window=weights.window, shared=weights.shared)


def build_masks(config: ArrayConfig, layer: str, weights: Weights, peak: int) -> Masks:
    """Segments and mask words of a layer.

    peak : largest value of an input

    Raises `Refusal` where the drain accumulator could overflow.
    """
    columns = weights.columns
    builder = _Builder(config, columns, peak)
    if weights.maximum:
        _compare_columns(builder, columns)
        return builder.masks(weights)
    _add_columns(builder, columns, 0)
    largest = max(int(np.abs(run.weights).max()) for column in columns for run in column.runs)
    if largest > 1:
        other = _Builder(config, columns, peak)
        _add_columns(other, columns, largest.bit_length() - 1)
        fits = other.sums.worst < 1 << (config.sum_bits - 1)
        if fits and other.cost() < builder.cost():
            builder = other
    _check_sums(config, layer, builder.sums.worst)
    return builder.masks(weights)


def _compare_columns(builder: _Builder, columns: tuple[Column, ...]) -> None:
    op = DrainOp.SET
    for index, column in enumerate(columns):
        (run,) = column.runs
        builder.chain(index, column.shift, [_Piece(run.offset, 0, run.weights)], op, 1)
        op = DrainOp.MAX


def _add_columns(builder: _Builder, columns: tuple[Column, ...], low: int) -> None:
    signs: list[list[list[list[Array]]]] = []  # of each column, for each sign: stages of runs
    for column in columns:
        split = [split_signs(run.weights, low) for run in column.runs]
        signs.append([split_stages([run[part] for run in split], builder.limit) for part in (0, 1)])
    count = max(len(stages) for both in signs for stages in both)
    for stage in reversed(range(count)):
        op = DrainOp.SET if stage == count - 1 else DrainOp.NIBBLE
        for index, (column, both) in enumerate(zip(columns, signs, strict=True)):
            for sign, stages in zip((1, -1), both, strict=True):
                if stage >= len(stages):
                    continue
                for chain in builder.chains(_pieces(column, stages[stage])):
                    builder.chain(index, column.shift, chain, op, sign)
                    op = DrainOp.ADD
        if op != DrainOp.ADD:
            # Nothing to add in this stage, but the sums must be cleared or multiplied.
            first = columns[0]
            nothing = [np.zeros_like(run.weights) for run in first.runs[:1]]
            builder.chain(0, first.shift, _pieces(first, nothing), op, 1)


def _pieces(column: Column, values: list[Array]) -> list[_Piece]:
    """Values of the first runs of a column, each as a piece."""
    taps = np.cumsum([0, *(run.weights.shape[1] for run in column.runs)]).tolist()
    return [
        _Piece(run.offset, tap, part)
        for run, tap, part in zip(column.runs, taps, values, strict=False)
    ]


def _check_sums(config: ArrayConfig, layer: str, worst: int) -> None:
    limit = (1 << (config.sum_bits - 1)) - 1
    if worst > limit:
        raise Refusal(
            layer,
            f"sums can reach {worst} and the drain accumulator holds {limit}",
            f"use an array with sum_bits {worst.bit_length() + 1} or more"
            if worst.bit_length() < 25
            else "use fewer channels, fewer activation bits or smaller weights",
        )
