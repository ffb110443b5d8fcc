"""Segments and mask words: weights as sums of unsigned groups that no accumulator overflows.

A weight is split into digits of its non-adjacent form (no two neighbours are non-zero, so weights
near zero have few), or into unsigned ones below the top digit if that takes fewer cycles. For each
kernel column and each sign the lanes add up a *chain* of digits from the top down, doubling in
between, and are drained. Where a lane accumulator cannot hold a whole column so, it is added up in
stages of four digits (nibbles), from the top stage down.
Ref: docs/architecture.md, "Numbers" and "Segments".
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
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
    drain: bool = False
    shift: int = 0
    op: DrainOp = DrainOp.SET
    negate: bool = False
    residual: bool = False
    bank: int = 0
    emit: bool = False

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
            residual=self.residual,
            bank=self.bank,
            emit=self.emit,
        )[0]


#: Reads a residual, for bank 0.
RESIDUAL = Segment(0, 1, Start.CLEAR, drain=True, residual=True)


@dataclass(frozen=True)
class Masks:
    """Masks of some filters.

    *Members*: ``segments`` of a pass; ``words`` of each pass, uint32 [passes, words], a single row
    for all passes if ``shared``; ``window_segments`` and ``window_words`` uint32 [words] of the
    window sum, empty without one; ``filters`` that a pass completes, in their order: channels, or
    None for the missing one of a pair; ``pair``: two of them a pass.
    """

    segments: tuple[Segment, ...]
    words: NDArray[np.uint32]
    window_segments: tuple[Segment, ...]
    window_words: NDArray[np.uint32]
    filters: tuple[int | None, ...]
    shared: bool
    pair: bool = False

    def only(self, filters: Sequence[int]) -> Masks:
        """The same for some of the filters, by their channels. Not for pairs."""
        assert not self.pair
        where = {channel: index for index, channel in enumerate(self.filters)}
        rows = [0] if self.shared else [where[channel] for channel in filters]
        return dataclasses.replace(self, words=self.words[rows], filters=tuple(filters))

    def cut(self, count: int) -> list[Masks]:
        """The same in ``count`` pieces of whole passes, as equal as they can be."""
        size = 2 if self.pair else 1
        passes = len(self.filters) // size
        edges = [passes * number // count for number in range(count + 1)]
        return [
            dataclasses.replace(
                self,
                words=self.words if self.shared else self.words[low:high],
                filters=self.filters[size * low : size * high],
            )
            for low, high in itertools.pairwise(edges)
        ]

    def residual_last(self) -> Masks:
        """The same with the residual read after the last chain, not before it. Not for pairs.

        Beside a window sum there is one bank for the residuals of all filters, so the next one must
        wait until the filter before is written: the later it comes, the less of the pass waits.
        """
        assert not self.pair
        segments = list(self.segments)
        (index,) = [number for number, each in enumerate(segments) if each.residual]
        at = sum(segment.words for segment in segments[:index])
        residual = dataclasses.replace(segments.pop(index), emit=True)
        segments[-1] = dataclasses.replace(segments[-1], emit=False)
        words = self.words[:, at : at + residual.words]
        rest = np.delete(self.words, range(at, at + residual.words), axis=1)
        return dataclasses.replace(
            self, segments=(*segments, residual), words=np.concatenate([rest, words], axis=1)
        )

    def beats(self) -> NDArray[np.int64]:
        """Beats of each pass, int64 [passes or 1]."""
        beats = np.maximum(np.bitwise_count(self.words), 1).astype(np.int64)
        # The word of a residual is an address.
        residual = np.repeat(
            [segment.residual for segment in self.segments],
            [segment.words for segment in self.segments],
        )
        beats[:, residual] = 1
        total: NDArray[np.int64] = beats.sum(axis=1)
        return total


@dataclass(frozen=True)
class Piece:
    """Part of a run in one chain.

    *Members*: ``offset`` of its first address; ``tap``, number of its first weight in the column;
    ``values`` [filters, length], all at least 0.
    """

    offset: int
    tap: int
    values: Array

    def part(self, first: int, last: int | None) -> Piece:
        """The piece from weight ``first`` to before ``last``."""
        return Piece(self.offset + first, self.tap + first, self.values[:, first:last])


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

    def drain(self, op: DrainOp, column: int, pieces: list[Piece], sign: int) -> None:
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


def chains_of(config: ArrayConfig, pieces: list[Piece], limit: int) -> Iterator[list[Piece]]:
    """Split one sign's values into chains that no lane accumulator overflows.

    limit : largest sum of values in one chain; a single value beyond it goes into several chains,
        in parts
    """
    while any(piece.values.any() for piece in pieces):
        part = [Piece(piece.offset, piece.tap, np.minimum(piece.values, limit)) for piece in pieces]
        yield from _cut(config, part, limit)
        pieces = [
            Piece(piece.offset, piece.tap, piece.values - done.values)
            for piece, done in zip(pieces, part, strict=True)
        ]


def _cut(config: ArrayConfig, pieces: list[Piece], limit: int) -> Iterator[list[Piece]]:
    """Cut runs where the sum of a filter would pass the limit, at a word's end if possible."""
    filters = len(pieces[0].values)
    chain: list[Piece] = []
    total = np.zeros(filters, np.int64)
    for rest in pieces:
        while rest.values.shape[1]:
            sums = total[:, None] + np.cumsum(rest.values, axis=1)
            length = rest.values.shape[1]
            fits = int((sums.max(axis=0) <= limit).sum())
            if fits < length and fits > config.mask_bits:
                fits -= fits % config.mask_bits
            if fits:
                chain.append(rest.part(0, fits))
                total = sums[:, fits - 1]
                rest = rest.part(fits, None)
            if fits < length:
                yield chain
                chain, total = [], np.zeros(filters, np.int64)
    if any(piece.values.any() for piece in chain):
        yield chain


def run_segments(
    config: ArrayConfig, offset: int, bits: Array, start: Start
) -> Iterator[tuple[Segment, NDArray[np.uint32]]]:
    """Segments and mask words of one run, without the ends where no filter has a bit."""
    used = np.flatnonzero(bits.any(axis=0))
    if not len(used):
        return
    offset, bits = offset + int(used[0]), bits[:, used[0] : used[-1] + 1]
    step = segment_layout(config).fields[1].high * config.mask_bits
    for at in range(0, bits.shape[1], step):
        words = pack_masks(bits[:, at : at + step], config.mask_bits)
        yield Segment(offset + at, words.shape[1], Start.KEEP if at else start), words


class _Builder:
    """Segments and mask words of one layer, as they come."""

    def __init__(self, config: ArrayConfig, columns: tuple[Column, ...], peak: int) -> None:
        self.config = config
        self.filters = columns[0].runs[0].weights.shape[0]
        self.limit = ((1 << config.acc_bits) - 1) // peak
        self.sums = _Sums(columns, peak)
        self.segments: list[Segment] = []
        self.words: list[NDArray[np.uint32]] = []

    # ---- emission of segments --------------------------------------------------------------------

    def chain(self, column: int, shift: int, pieces: list[Piece], op: DrainOp, sign: int) -> None:
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
                self._nothing(pieces[0].offset, start)
        self.segments[-1] = dataclasses.replace(
            self.segments[-1], drain=True, shift=shift, op=op, negate=sign < 0
        )
        self.sums.drain(op, column, pieces, sign)

    def _run(self, offset: int, bits: Array, start: Start) -> None:
        for segment, words in run_segments(self.config, offset, bits, start):
            self.segments.append(segment)
            self.words.append(words)

    def _nothing(self, offset: int, start: Start) -> None:
        self.segments.append(Segment(offset, 1, start))
        self.words.append(np.zeros((self.filters, 1), np.uint32))

    # ---- result ----------------------------------------------------------------------------------

    def cost(self) -> int:
        """Cycles that a vector takes lanes and drain, over all filters."""
        total = 0
        beats = np.zeros(self.filters, np.int64)
        for segment, words in zip(self.segments, self.words, strict=True):
            beats += np.maximum(np.bitwise_count(words), 1).sum(axis=1, dtype=np.int64)
            if segment.drain:
                total += int(np.maximum(beats, self.config.drain_cycles).sum())
                beats[:] = 0
        return total

    def residual(self, *, steps: bool) -> None:
        """Read the residual before the last chain: late, as the emission before may be reading the
        one before it. The word is the filter's channel, or 0 if addresses advance with the filter.
        """
        chain = [index for index, segment in enumerate(self.segments) if segment.drain]
        at = chain[-2] + 1 if len(chain) > 1 else 0
        words = np.arange(self.filters, dtype=np.uint32) * (not steps)
        self.segments.insert(at, RESIDUAL)
        self.words.insert(at, words[:, None])

    def done(self) -> tuple[tuple[Segment, ...], NDArray[np.uint32]]:
        """Segments and words of all that was built."""
        return tuple(self.segments), np.concatenate(self.words, axis=1)


def build_masks(
    config: ArrayConfig, layer: str, weights: Weights, peak: int, *, residual: bool, steps: bool
) -> Masks:
    """Segments and mask words of a layer, each filter by itself.

    peak : largest value of an input
    residual : whether each filter has a residual
    steps : whether the residual's address advances with the filter

    Raises `Refusal` where the drain accumulator could overflow.
    """
    columns = weights.columns
    builder = _Builder(config, columns, peak)
    if weights.maximum:
        _compare_columns(builder, columns)
    else:
        builder = _added(config, columns, peak)
        _check_sums(config, layer, weights, builder.sums.worst)
    if residual:
        builder.residual(steps=steps)
    builder.segments[-1] = dataclasses.replace(builder.segments[-1], emit=True)
    segments, words = builder.done()
    window_segments, window_words = _window(config, layer, weights, peak)
    return Masks(
        segments=segments,
        words=words,
        window_segments=window_segments,
        window_words=window_words,
        filters=tuple(range(weights.filters)),
        shared=weights.shared,
    )


def _added(config: ArrayConfig, columns: tuple[Column, ...], peak: int) -> _Builder:
    """Columns added up, in the form that takes fewer cycles."""
    builder = _Builder(config, columns, peak)
    _add_columns(builder, columns, 0)
    largest = max(int(np.abs(run.weights).max()) for column in columns for run in column.runs)
    if largest > 1:
        other = _Builder(config, columns, peak)
        _add_columns(other, columns, largest.bit_length() - 1)
        fits = other.sums.worst < 1 << (config.sum_bits - 1)
        if fits and other.cost() < builder.cost():
            return other
    return builder


def _window(
    config: ArrayConfig, layer: str, weights: Weights, peak: int
) -> tuple[tuple[Segment, ...], NDArray[np.uint32]]:
    """The window sum: a filter of ones."""
    if not weights.window:
        return (), np.zeros(0, np.uint32)
    builder = _added(config, weights.window_columns, peak)
    _check_sums(config, layer, weights, builder.sums.worst)
    segments, words = builder.done()
    return segments, words[0]


def _compare_columns(builder: _Builder, columns: tuple[Column, ...]) -> None:
    op = DrainOp.SET
    for index, column in enumerate(columns):
        (run,) = column.runs
        builder.chain(index, column.shift, [Piece(run.offset, 0, run.weights)], op, 1)
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
                pieces = _pieces(column, stages[stage])
                for chain in chains_of(builder.config, pieces, builder.limit):
                    builder.chain(index, column.shift, chain, op, sign)
                    op = DrainOp.ADD
        if op != DrainOp.ADD:
            # Nothing to add in this stage, but the sums must be cleared or multiplied.
            first = columns[0]
            nothing = [np.zeros_like(run.weights) for run in first.runs[:1]]
            builder.chain(0, first.shift, _pieces(first, nothing), op, 1)


def _pieces(column: Column, values: list[Array]) -> list[Piece]:
    """Values of the first runs of a column, each as a piece."""
    taps = np.cumsum([0, *(run.weights.shape[1] for run in column.runs)]).tolist()
    return [
        Piece(run.offset, tap, part)
        for run, tap, part in zip(column.runs, taps, values, strict=False)
    ]


def _check_sums(config: ArrayConfig, layer: str, weights: Weights, worst: int) -> None:
    limit = (1 << (config.sum_bits - 1)) - 1
    if worst > limit and not weights.wraps:
        raise Refusal(
            layer,
            f"sums can reach {worst} and the drain accumulator holds {limit}",
            f"use an array with sum_bits {worst.bit_length() + 1} or more"
            if worst.bit_length() < 25
            else "use fewer channels, fewer activation bits or smaller weights",
        )
