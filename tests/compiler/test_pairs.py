"""Pairs of filters: each filter in one pair, and masks that add up to the weights of both."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from plum_hw.compiler.columns import Column, Run, Weights
from plum_hw.compiler.pairs import can_pair, choose_pairs, pair_masks
from plum_hw.compiler.segments import Masks, build_masks
from plum_hw.config import ArrayConfig
from plum_hw.layouts import DrainOp, Start
from tests.compiler.nets import array

SCHEMES = ("signed binary", "binary", "ternary", "empty")


def draw_weights(rng: np.random.Generator, scheme: str, filters: int) -> Weights:
    """Two columns of one or two runs each."""

    def run(length: int) -> Any:
        mask = rng.random((filters, length)) < rng.choice([0.1, 0.4, 0.9])
        sign = rng.choice([-1, 1], (filters, length))
        if scheme == "signed binary":
            return mask.astype(np.int64)
        if scheme == "binary":
            return sign
        if scheme == "empty":
            mask[rng.random(filters) < 0.5] = False
        return mask * sign

    columns = tuple(
        Column(
            column - 1,
            tuple(
                Run(500 * column + 100 * number, run(int(rng.integers(1, 70))))
                for number in range(int(rng.integers(1, 3)))
            ),
        )
        for column in range(2)
    )
    return Weights(filters, columns, shared=False, maximum=False)


def shifted(weights: Weights) -> dict[int, int]:
    """Lane offset of each address."""
    return {
        run.offset + i: column.shift
        for column in weights.columns
        for run in column.runs
        for i in range(run.weights.shape[1])
    }


def restored(config: ArrayConfig, masks: Masks, shifts: dict[int, int]) -> list[dict[int, int]]:
    """Weight of each address for each filter of the passes, 0 left out: what is drained into the
    filter's bank, as the documentation says, checked for order and for residuals.
    """
    result = []
    for words in masks.words.tolist():
        lanes: dict[int, int] = {}
        sums: list[dict[int, int] | None] = [None, None]
        emitted: list[int] = []
        read: list[int | None] = [None, None]
        word = 0
        for segment in masks.segments:
            values = words[word : word + segment.words]
            word += segment.words
            if segment.residual:
                assert (segment.start, segment.drain, segment.op) == (
                    Start.CLEAR,
                    True,
                    DrainOp.SET,
                )
                assert read[segment.bank] is None
                read[segment.bank] = values[0]
                lanes = {}
                assert segment.bank not in emitted
                continue
            assert segment.start in (Start.CLEAR, Start.KEEP)
            if segment.start == Start.CLEAR:
                lanes = {}
            for number, value in enumerate(values):
                assert value < 1 << config.mask_bits
                for bit in range(config.mask_bits):
                    if value >> bit & 1:
                        at = segment.offset + config.mask_bits * number + bit
                        lanes[at] = lanes.get(at, 0) + 1
            if not segment.drain:
                continue
            assert segment.bank not in emitted
            old = sums[segment.bank]
            assert (old is None) == (segment.op == DrainOp.SET)
            assert segment.op in (DrainOp.SET, DrainOp.ADD)
            now = dict(old or {})
            for at, count in lanes.items():
                assert shifts[at] == segment.shift
                now[at] = now.get(at, 0) + (-count if segment.negate else count)
            sums[segment.bank] = now
            if segment.emit:
                emitted.append(segment.bank)
        assert word == len(words)
        assert emitted == [0, 1]
        result += [{at: w for at, w in (each or {}).items() if w} for each in sums]
        residuals = [value for value in read if value is not None]
        assert len(residuals) in (0, 2)
        if residuals:
            result[-2][-1], result[-1][-1] = residuals
    return result


def expected(weights: Weights, channel: int | None) -> dict[int, int]:
    if channel is None:
        return {}
    return {
        run.offset + i: w
        for column in weights.columns
        for run in column.runs
        for i, w in enumerate(run.weights[channel].tolist())
        if w
    }


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("seed", range(8))
def test_masks_restore_the_weights_of_both(scheme, seed):
    rng = np.random.default_rng(seed)
    filters = int(rng.integers(1, 8))
    residual = bool(rng.random() < 0.5)
    config = array(mask_bits=int(rng.choice([8, 16, 24, 32])), acc_bits=int(rng.integers(12, 17)))
    weights = draw_weights(rng, scheme, filters)
    single = build_masks(config, "layer", weights, 255, residual=residual, steps=False)
    some = sorted(rng.permutation(filters)[: max(1, filters - 1)].tolist())
    pairs = choose_pairs(weights, some)
    masks = pair_masks(config, weights, single, pairs, 255, residual=residual)
    assert masks.pair
    assert len(masks.words) == len(pairs)
    assert sorted(c for c in masks.filters if c is not None) == some
    got = restored(config, masks, shifted(weights))
    for channel, found in zip(masks.filters, got, strict=True):
        if residual:
            assert found.pop(-1) == (channel or 0), (seed, channel)
        assert found == expected(weights, channel), (seed, channel)


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, -1)])
def test_filters_of_one_sign_take_three_drains_a_column(signs):
    rng = np.random.default_rng(3)
    columns = tuple(
        Column(shift, (Run(100 * shift, (rng.random((2, 48)) < 0.4) * np.array(signs)[:, None]),))
        for shift in range(3)
    )
    weights = Weights(2, columns, shared=False, maximum=False)
    single = build_masks(array(), "layer", weights, 255, residual=False, steps=False)
    masks = pair_masks(array(), weights, single, [(0, 1)], 255, residual=False)
    assert sum(segment.drain for segment in masks.segments) == 3 * 3
    either = [np.count_nonzero(column.runs[0].weights.any(axis=0)) for column in columns]
    assert int(np.bitwise_count(masks.words).sum()) == sum(either)
    # Neither the first drain of a pass nor the last is for the filter that is complete first.
    first = next(segment for segment in masks.segments if segment.drain)
    assert first.bank == 1
    assert masks.segments[-1].bank == 1


def test_no_lane_overflows():
    """257 inputs of 255 fill a lane of 16 bits."""
    ones = Weights(2, (Column(0, (Run(0, np.ones((2, 600), np.int64)),)),), False, maximum=False)
    single = build_masks(array(), "layer", ones, 255, residual=False, steps=False)
    masks = pair_masks(array(), ones, single, [(0, 1)], 255, residual=False)
    count = 0
    for segment, words in zip(
        masks.segments,
        np.split(masks.words[0], np.cumsum([s.words for s in masks.segments])[:-1]),
        strict=True,
    ):
        bits = int(np.bitwise_count(words).sum())
        count = bits if segment.start == Start.CLEAR else count + bits
        assert count <= 257


def test_a_planted_fault_is_seen():
    rng = np.random.default_rng(0)
    weights = draw_weights(rng, "ternary", 4)
    single = build_masks(array(), "layer", weights, 255, residual=False, steps=False)
    masks = pair_masks(
        array(), weights, single, choose_pairs(weights, range(4)), 255, residual=False
    )
    good = restored(array(), masks, shifted(weights))
    words = masks.words.copy()
    words[1, 2] ^= 4
    drain = next(i for i, s in enumerate(masks.segments) if s.drain)
    segments = list(masks.segments)
    segments[drain] = replace(segments[drain], negate=not segments[drain].negate)
    for fault in (replace(masks, words=words), replace(masks, segments=tuple(segments))):
        assert restored(array(), fault, shifted(weights)) != good


@pytest.mark.parametrize("filters", [1, 2, 5, 8, 33])
def test_a_perfect_pairing(filters):
    weights = draw_weights(np.random.default_rng(filters), "signed binary", 40)
    chosen = list(range(3, 3 + filters))
    pairs = choose_pairs(weights, chosen)
    assert len(pairs) == -(-filters // 2)
    assert sorted(c for pair in pairs for c in pair if c is not None) == chosen
    assert [a is None for a, _ in pairs] == [False] * (filters // 2) + [True] * (filters % 2)


def test_those_that_share_most_are_paired():
    base = np.kron(np.eye(4, dtype=np.int64), np.ones((2, 20))).astype(
        np.int64
    )  # 0 and 1, 2 and 3, ...
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    column = Column(0, (Run(0, base[order]),))
    weights = Weights(8, (column,), False, maximum=False)
    assert {frozenset(pair) for pair in choose_pairs(weights, range(8))} == {
        frozenset((number, number + 4)) for number in range(4)
    }
    rng = np.random.default_rng(1)
    drawn = draw_weights(rng, "signed binary", 12)
    flat = np.concatenate([run.weights for c in drawn.columns for run in c.runs], axis=1)
    shared = flat @ flat.T
    found = sum(int(shared[a, b]) for a, b in choose_pairs(drawn, range(12)) if a is not None)
    mean = sum(int(shared[a, b]) for a, b in itertools.combinations(range(12), 2)) / 66
    assert found > 6 * mean


def test_what_cannot_be_paired():
    weights = draw_weights(np.random.default_rng(0), "binary", 4)
    assert can_pair(array(), weights, 255)
    assert not can_pair(array(), replace(weights, shared=True), 255)
    assert not can_pair(array(), replace(weights, maximum=True), 255)
    assert not can_pair(array(), replace(weights, filters=1), 255)
    twice = Column(0, (Run(0, np.full((4, 3), 2)),))
    assert not can_pair(array(), replace(weights, columns=(twice,)), 255)
    ones = Column(0, (Run(0, np.ones((4, 129), np.int64)),))
    # 129 * 255 is more than 16 bits with a sign hold.
    assert not can_pair(array(sum_bits=16), replace(weights, columns=(ones,)), 255)
    assert can_pair(array(sum_bits=17), replace(weights, columns=(ones,)), 255)
