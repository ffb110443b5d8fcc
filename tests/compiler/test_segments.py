from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plum_hw.compiler.columns import Column, Run, Weights, all_ones
from plum_hw.compiler.digits import naf, pack_masks, split_signs
from plum_hw.compiler.problems import Refusal
from plum_hw.compiler.segments import Masks
from plum_hw.compiler.segments import build_masks as build_any
from plum_hw.config import ArrayConfig
from plum_hw.layouts import DrainOp, Start
from tests.compiler.nets import array


def weights_of(*columns: list[np.ndarray]) -> Weights:
    """Columns of runs of weights [filters, n]; runs lie 100 addresses apart."""
    made = tuple(
        Column(
            index - 1,
            tuple(Run(1000 * index + 100 * i, run.astype(np.int64)) for i, run in enumerate(runs)),
        )
        for index, runs in enumerate(columns)
    )
    filters = len(columns[0][0])
    return Weights(filters, made, shared=False, maximum=False)


def build_masks(config: ArrayConfig, layer: str, weights: Weights, peak: int) -> Masks:
    return build_any(config, layer, weights, peak, residual=False, steps=False)


def execute(config: ArrayConfig, masks: Masks, inputs: dict[int, int]) -> list[int]:
    """Sums of each filter, beat by beat in Python integers; asserts that nothing overflows."""
    results = []
    half = 1 << (config.sum_bits - 1)
    for words in masks.words.tolist():
        acc, total, word = 0, 0, 0
        for segment in masks.segments:
            first = True
            for number in range(segment.words):
                mask = words[word]
                word += 1
                at = segment.offset + config.mask_bits * number
                bits = [bit for bit in range(config.mask_bits) if mask >> bit & 1]
                for x in [inputs.get(at + bit, 0) for bit in bits] or [0]:
                    if not first or segment.start == Start.KEEP:
                        acc = acc + x
                    else:
                        acc = x if segment.start == Start.CLEAR else 2 * acc + x
                    first = False
                    assert acc < 1 << config.acc_bits
            if segment.drain:
                value = -acc if segment.negate else acc
                total = {
                    DrainOp.SET: value,
                    DrainOp.ADD: total + value,
                    DrainOp.NIBBLE: 16 * total + value,
                    DrainOp.MAX: max(total, value),
                }[segment.op]
                assert -half <= total < half
        results.append(total)
    return results


@given(st.lists(st.integers(-(1 << 20), 1 << 20), min_size=1, max_size=20))
def test_naf_has_the_value_and_no_two_neighbours(values):
    weights = np.array(values)
    positive, negative = naf(weights)
    assert (positive - negative == weights).all()
    digits = positive | negative
    assert (positive & negative == 0).all()
    assert (digits & (digits << 1) == 0).all()


@given(st.lists(st.integers(-(1 << 20), 1 << 20), min_size=1, max_size=20), st.integers(0, 8))
def test_low_digits_are_of_one_sign(values, low):
    weights = np.array(values)
    positive, negative = split_signs(weights, low)
    assert (positive - negative == weights).all()
    assert (positive >= 0).all()
    assert (negative >= 0).all()
    assert (negative % (1 << low) == 0).all()


@settings(deadline=None)  # a busy machine is not a fault
@given(st.data())
def test_any_weights_give_their_sums_and_nothing_overflows(data):
    seed = data.draw(st.integers(0, 1 << 30))
    rng = np.random.default_rng(seed)
    config = array(
        acc_bits=data.draw(st.integers(10, 20)),
        sum_bits=25,
        mask_bits=data.draw(st.sampled_from([8, 16, 24, 32])),
    )
    peak = (1 << data.draw(st.integers(1, 8))) - 1
    top = 1 << data.draw(st.integers(0, 7))
    filters = data.draw(st.integers(1, 4))
    density = data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    columns = [
        [
            rng.integers(-top, top, (filters, int(rng.integers(1, 60))), endpoint=True)
            * (rng.random((filters, 1)) < 0.9)
            * (rng.random() < density)
            for _ in range(int(rng.integers(1, 3)))
        ]
        for _ in range(int(rng.integers(1, 4)))
    ]
    columns = [[run.clip(-128, 127) for run in column] for column in columns]
    weights = weights_of(*columns)
    masks = build_masks(config, "layer", weights, peak)
    runs = [run for column in weights.columns for run in column.runs]
    # The worst cases of the first filter, both ways, and noise.
    worst = {run.offset + i: int(w) for run in runs for i, w in enumerate(run.weights[0].tolist())}
    cases = [
        {at: peak * (w > 0) for at, w in worst.items()},
        {at: peak * (w < 0) for at, w in worst.items()},
        {at: peak for at in worst},
        {at: int(rng.integers(0, peak, endpoint=True)) for at in worst},
    ]
    for inputs in cases:
        expected = [
            sum(
                int(w) * inputs[run.offset + i]
                for run in runs
                for i, w in enumerate(run.weights[k].tolist())
            )
            for k in range(filters)
        ]
        assert execute(config, masks, inputs) == expected


@pytest.mark.parametrize("mask_bits", [8, 16, 24, 32])
def test_masks_are_packed_from_bit_0(mask_bits):
    bits = np.zeros((2, mask_bits + 3), np.int64)
    bits[0, [0, mask_bits - 1, mask_bits]] = 1
    bits[1, mask_bits + 2] = 1
    words = pack_masks(bits, mask_bits)
    assert words.tolist() == [[1 | 1 << (mask_bits - 1), 1], [0, 4]]


def test_one_sign_one_digit_is_one_drain_a_column():
    rng = np.random.default_rng(1)
    run = (rng.random((6, 48)) < 0.4).astype(np.int64)
    run[:, [0, 47]] = 1
    masks = build_masks(array(), "layer", weights_of([run], [run], [run]), 255)
    assert [s.drain for s in masks.segments] == [True] * 3
    assert [s.shift for s in masks.segments] == [-1, 0, 1]
    assert [s.op for s in masks.segments] == [DrainOp.SET, DrainOp.ADD, DrainOp.ADD]
    assert not any(s.negate for s in masks.segments)
    assert sum(np.bitwise_count(masks.words).sum(axis=1)) == 3 * run.sum()


def test_weights_that_a_lane_holds_are_added_up_in_one_chain():
    run = np.array([[100, -100, 27]])
    masks = build_masks(array(acc_bits=16), "layer", weights_of([run]), 255)
    assert sum(s.drain for s in masks.segments) == 2  # one for each sign
    assert not any(s.op == DrainOp.NIBBLE for s in masks.segments)
    masks = build_masks(array(acc_bits=12), "layer", weights_of([run]), 255)
    assert any(s.op == DrainOp.NIBBLE for s in masks.segments)


def test_digits_of_one_sign_where_few_weights_share_a_word():
    """A depthwise column has one weight a word: the lanes take a beat for each, even if it is 0."""
    rng = np.random.default_rng(2)
    few = [rng.integers(-127, 127, (16, 1), endpoint=True) for _ in range(3)]
    masks = build_masks(array(), "layer", weights_of(few), 255)
    words = masks.words.shape[1]
    assert words <= 31  # both signs of the non-adjacent form would take 48
    many = rng.integers(-127, 127, (16, 48), endpoint=True)
    masks = build_masks(array(), "layer", weights_of([many]), 255)
    assert sum(np.bitwise_count(masks.words).sum(axis=1)) / many.size < 3  # else about 4


def test_ends_without_bits_are_left_out():
    run = np.zeros((3, 200), np.int64)
    run[0, 90], run[2, 99] = 1, 1
    masks = build_masks(array(), "layer", weights_of([run]), 255)
    (segment,) = masks.segments
    assert (segment.offset, segment.words) == (90, 1)


@pytest.mark.parametrize("value", [0, 16])
def test_layers_and_stages_without_weights_still_clear_and_multiply(value):
    run = np.full((2, 40), value)
    config = array(acc_bits=10)
    masks = build_masks(config, "layer", weights_of([run]), 255)
    assert masks.segments[-1].drain
    inputs = {i: 255 for i in range(40)}
    assert execute(config, masks, inputs) == [value * 40 * 255] * 2


def test_runs_are_split_exactly_where_the_accumulator_would_overflow():
    run = np.ones((1, 300), np.int64)
    config = array(acc_bits=16, mask_bits=32)  # 257 ones of 255 fit
    masks = build_masks(config, "layer", weights_of([run]), 255)
    assert [(s.offset, s.words, s.drain) for s in masks.segments] == [(0, 8, True), (256, 2, True)]
    masks = build_masks(config, "layer", weights_of([run[:, :257]]), 255)
    assert len(masks.segments) == 1
    masks = build_masks(config, "layer", weights_of([run]), 127)
    assert len(masks.segments) == 1


def test_sums_are_bounded_exactly():
    config = array(sum_bits=16)
    weights = weights_of([np.ones((1, 128), np.int64)])
    build_masks(config, "layer", weights, 255)  # 32,640 of 32,767
    with pytest.raises(Refusal, match=r"layer bad: sums can reach 32895 and .* holds 32767; .* 17"):
        build_masks(config, "bad", weights_of([np.ones((1, 129), np.int64)]), 255)
    # Below zero two's complement reaches one further.
    build_masks(config, "layer", weights_of([np.full((1, 128), -1)]), 255)


@pytest.mark.parametrize("steps", [False, True])
def test_a_residual_is_read_before_the_last_chain(steps):
    rng = np.random.default_rng(3)
    weights = weights_of([rng.integers(-1, 2, (5, 40))], [rng.integers(-1, 2, (5, 40))])
    plain = build_any(array(), "layer", weights, 255, residual=False, steps=steps)
    masks = build_any(array(), "layer", weights, 255, residual=True, steps=steps)
    (at,) = [i for i, segment in enumerate(masks.segments) if segment.residual]
    assert masks.segments[at].drain
    assert masks.segments[at].op == DrainOp.SET
    assert masks.segments[:at] + masks.segments[at + 1 :] == plain.segments
    # One chain of the filter's own follows it.
    assert [segment.start for segment in masks.segments[at + 1 :]].count(Start.CLEAR) == 1
    word = sum(segment.words for segment in masks.segments[:at])
    assert masks.words[:, word].tolist() == ([0] * 5 if steps else [0, 1, 2, 3, 4])
    assert (np.delete(masks.words, word, axis=1) == plain.words).all()
    assert (masks.beats() == plain.beats() + 1).all()
    assert [segment.emit for segment in masks.segments] == [False] * (len(masks.segments) - 1) + [
        True
    ]


def test_the_window_sum_is_a_filter_of_ones():
    weights = weights_of([np.eye(3, 40, dtype=int)], [np.eye(3, 9, dtype=int)])
    weights = replace(weights, window_columns=all_ones(weights.columns))
    masks = build_masks(array(mask_bits=16), "layer", weights, 255)
    window = replace(masks, segments=masks.window_segments, words=masks.window_words[None])
    inputs = {**{i: i + 1 for i in range(40)}, **{1000 + i: 100 for i in range(9)}}
    assert execute(array(mask_bits=16), window, inputs) == [40 * 41 // 2 + 900]
    assert not any(segment.emit for segment in masks.window_segments)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_cut_keeps_every_filter_with_its_masks(count):
    rng = np.random.default_rng(count)
    weights = weights_of([rng.integers(0, 2, (7, 40))])
    masks = build_masks(array(), "layer", weights, 255)
    some = masks.only([1, 2, 4, 5, 6])
    assert (some.words == masks.words[[1, 2, 4, 5, 6]]).all()
    pieces = some.cut(count)
    assert len(pieces) == count
    assert [channel for piece in pieces for channel in piece.filters] == [1, 2, 4, 5, 6]
    assert (np.concatenate([piece.words for piece in pieces]) == some.words).all()
    sizes = [len(piece.filters) for piece in pieces]
    assert max(sizes) - min(sizes) <= 1


def test_a_planted_fault_is_seen():
    run = np.array([[3, -5, 7]])
    config = array()
    masks = build_masks(config, "layer", weights_of([run]), 255)
    words = masks.words.copy()
    words[0, 0] ^= 1
    inputs = {0: 9, 1: 4, 2: 2}
    assert execute(config, masks, inputs) == [27 - 20 + 14]
    assert execute(config, replace(masks, words=words), inputs) != [27 - 20 + 14]
