"""The golden machine on programs that no compiler made, against a slow statement of a device."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from plum_hw.golden.machine import MachineError
from plum_hw.layouts import Counter, DrainOp, Select, Start, layer_layout
from tests.golden.programs import (
    HALF,
    SMALL,
    Program,
    Work,
    constants,
    draw_activation,
    draw_config,
    draw_program,
    entry,
    pack,
    segment,
)
from tests.golden.slow import run_layer

THREE = replace(SMALL, clusters=3, write_buses=2)
COUNTERS = {
    "cycles": Counter.CYCLES,
    "beats": Counter.BEATS,
    "drain_stalls": Counter.DRAIN_STALLS,
    "emit_stalls": Counter.EMIT_STALLS,
}


def compare(program: Program, rng: np.random.Generator, where: object) -> None:
    """Memories, results and counters after each layer."""
    config = program.config
    activation = draw_activation(rng, config)
    machine = program.machine(activation)
    results: dict[int, int] = {}
    for index in range(program.layers):
        before = len(results)
        address = index * layer_layout(config).words
        expected = run_layer(config, machine.code, machine.table, activation, results, address)
        machine.run(address, 1)
        counted = {name: int(machine.counters[word]) for name, word in COUNTERS.items()}
        assert counted == expected, (where, index)
        wrong = np.argwhere(machine.activation != activation)
        assert not len(wrong), f"{where}, layer {index}: cluster, vector, lane {wrong[0]}"
        assert {key: int(machine.results[key]) for key in results} == results, (where, index)
        assert machine.result_count >= len(results) - before


@pytest.mark.parametrize("seed", range(150))
def test_drawn_programs(seed):
    rng = np.random.default_rng(seed)
    config = draw_config(rng)
    compare(draw_program(rng, config), rng, f"seed {seed}, {config}")


@pytest.mark.parametrize("fault", ["mask", "scale", "channel", "entry"])
def test_a_planted_fault_is_seen(fault):
    """A word that differs between machine and slow statement."""
    program = pack(SMALL, [[copier()]])
    activation = draw_activation(np.random.default_rng(0), SMALL)
    machine = program.machine(activation)
    code, table = machine.code.copy(), machine.table.copy()
    memory, word, bits = {
        "mask": (code, len(program.code[0]) - 1, 2),
        "scale": (table, 0, 1 << 10),
        "channel": (table, 3, 0xFFFFFFFF),
        "entry": (table, 4, 1),
    }[fault]
    memory[0, word] ^= np.uint32(bits)
    run_layer(SMALL, code, table, activation, {}, 0)
    machine.run(0, 1)
    assert (machine.activation != activation).any()


# ---- what clusters send each other -----------------------------------------------------------


def copier(**fields: Any) -> Work:
    """A layer that passes vector 0 of the first half on, as channel 0, with one STRAIGHT entry."""
    return Work(
        fields={
            "passes": 1,
            "in_base": 0,
            "out_base": HALF,
            "left_edge": 1,
            **fields,
        },
        segments=[segment(drain=1, op=DrainOp.SET, emit=1)],
        masks=[1],
        filters=[constants(bias=1 << 11)],
        lists=[[entry()]],
    )


def idle(**fields: Any) -> Work:
    """Nothing to do."""
    return Work(fields=fields)


def ran(layers: list[list[Work]], activation: Any = None) -> Any:
    """Activations after a run on three clusters."""
    program = pack(THREE, layers)
    if activation is None:
        activation = draw_activation(np.random.default_rng(0), THREE)
    machine = program.machine(activation)
    machine.run(0, program.layers)
    return machine.activation


def test_an_entry_writes_the_cluster_that_it_names():
    noise = draw_activation(np.random.default_rng(0), THREE)
    work = copier()
    work.lists = [[entry(dest=2, target=1, source=0)]]
    after = ran([[idle(), work, idle()]])
    expected = noise.copy()
    expected[2, HALF, 8:] = noise[1, 0, :8]
    assert (after == expected).all()


def test_a_grouped_entry_writes_all_clusters_of_the_group():
    noise = draw_activation(np.random.default_rng(0), THREE)
    work = copier(group=1)
    work.lists = [[entry(dest=1, grouped=1, count=3), entry(dest=3, grouped=1, target=1)]]
    after = ran([[idle(group=1), work, idle(group=0)]])
    expected = noise.copy()
    for cluster in (0, 1):
        expected[cluster, HALF, :8] = 0
        expected[cluster, HALF, :3] = noise[1, 0, :3]
    assert (after == expected).all()


def test_all_clusters_compute_from_what_was_there_before_the_layer():
    """Each sends vector 0 to the next one; the layer after sends it on."""
    noise = draw_activation(np.random.default_rng(0), THREE)
    layers = []
    for source in (0, HALF):
        works = [copier(in_base=source, out_base=HALF - source) for _ in range(3)]
        for cluster, work in enumerate(works):
            work.lists = [[entry(dest=(cluster + 1) % 3)]]
        layers.append(works)
    after = ran(layers)
    for cluster in range(3):
        assert (after[(cluster + 1) % 3, HALF, :8] == noise[cluster, 0, :8]).all()
        assert (after[(cluster + 2) % 3, 0, :8] == noise[cluster, 0, :8]).all()


def test_every_second_lane_of_two_groups():
    noise = draw_activation(np.random.default_rng(0), THREE)
    work = copier()
    work.lists = [
        [
            entry(select=Select.HOLD, source=1),
            entry(select=Select.ODD, count=6),
            entry(select=Select.EVEN, offset=1),
            entry(select=Select.STRAIGHT, target=1),
            entry(select=Select.EVEN, offset=1, source=1, target=1, count=0),
        ]
    ]
    after = ran([[work, idle(), idle()]])
    first, second = noise[0, 0, :8].tolist(), noise[0, 0, 8:16].tolist()
    assert after[0, HALF, :8].tolist() == [*second[1::2], *first[1:6:2], 0]
    assert after[0, HALF, 8:16].tolist() == first
    assert after[0, HALF + 1, :8].tolist() == [*second[::2], *first[::2]]
    assert after[0, HALF + 1, 8:16].tolist() == [*second[::2], 0, 0, 0, 0]


@pytest.mark.parametrize("select", [Select.EVEN, Select.ODD])
def test_halves_need_a_held_group_of_their_own_list(select):
    work = copier(vectors=2)
    hold, half = entry(select=Select.HOLD), entry(select=select)
    work.lists = [[hold, half], [hold, half]]
    ran([[work, idle(), idle()]])
    work.lists = [[hold, half], [half]]
    with pytest.raises(MachineError, match="no HOLD before it"):
        ran([[work, idle(), idle()]])


def test_results_are_written_where_their_channels_are():
    works = []
    for cluster in range(3):
        work = copier(reduce=1, wide=1, out_base=1)
        work.filters = [constants(scale=1, bias=-5, channel=5 - cluster)]
        work.lists = []
        works.append(work)
    program = pack(THREE, [works])
    noise = draw_activation(np.random.default_rng(0), THREE)
    machine = program.machine(noise)
    machine.run(0, 1)
    assert machine.result_count == 3
    sums = noise[:, 0].sum(axis=1, dtype=np.int64) - 5
    assert machine.results.view(np.int32)[[6, 5, 4]].tolist() == sums.tolist()


# ---- pairs, window sums, residuals -----------------------------------------------------------


def pair_work(*, odd: bool, window: bool, residual: bool) -> Work:
    """A pair in two passes: a alone 1, 2; both 4; b alone 8, at vector 0 of each."""
    residuals = [
        [segment(drain=1, op=DrainOp.SET, residual=1, bank=bank)] if residual else []
        for bank in (0, 1)
    ]
    segments = [
        *residuals[0],
        segment(drain=1, op=DrainOp.SET),
        segment(drain=1, op=DrainOp.ADD, emit=1),
        segment(start=Start.KEEP, drain=1, op=DrainOp.SET, bank=1),
        *residuals[1],
        segment(drain=1, op=DrainOp.ADD, bank=1, emit=1),
    ]
    masks = [255] if window else []
    for alone, both, other, words in ((3, 4, 8, (20, 21)), (16, 32, 64, (22, 23))):
        masks += [words[0]] if residual else []
        masks += [alone, both, 0]
        masks += [words[1]] if residual else []
        masks += [other]
    return Work(
        fields={
            "passes": 2 + window,
            "pair": 1,
            "odd": odd,
            "in_base": 0,
            "out_base": HALF,
            "left_edge": 1,
            "residual": residual,
            "res_base": 5,
        },
        windows=[segment(drain=1, op=DrainOp.SET)] if window else [],
        segments=segments,
        masks=masks,
        filters=[
            constants(scale=16 << 8, window=-(2 << 8), residual=4 << 8, channel=3 * n)
            for n in range(4)
        ],
        lists=[[entry()]],
    )


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("window", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_pairs(odd, window, residual):
    config = replace(SMALL, lanes=8)
    program = pack(config, [[pair_work(odd=odd, window=window, residual=residual)]])
    activation = np.zeros((1, config.act_depth, 8), np.uint8)
    x = activation[0]
    x[:40] = np.random.default_rng(1).integers(0, 9, (40, 8))
    machine = program.machine(activation)
    x = x.astype(int)
    machine.run(0, 1)
    sums = [x[0] + x[1] + x[2], x[2] + x[3], x[4] + x[5], x[5] + x[6]]
    for number, total in enumerate(sums):
        # m is 1, n is -1/8, r is 1/4.
        t = 16 * total - 2 * window * x[:8].sum(axis=0) + 4 * residual * x[25 + number]
        expected = np.clip(t >> 4, 0, 255)
        if odd and number == 2:
            expected[:] = 0  # nothing is written
        assert machine.activation[0, HALF + 3 * number].tolist() == expected.tolist()
    compare(program, np.random.default_rng(2), "pair")


def test_a_residual_gives_way_to_its_output():
    work = copier(residual=1, res_base=HALF, res_step=1, vectors=2, in_step=1)
    work.segments.insert(0, segment(drain=1, op=DrainOp.SET, residual=1))
    work.masks = [0, 1]
    work.filters[0]["residual"] = 1 << 12
    work.lists = [[entry()], [entry(offset=1)]]
    noise = draw_activation(np.random.default_rng(0), THREE)
    noise[:] //= 2
    after = ran([[work, idle(), idle()]], noise)
    expected = noise[0, :2, :8] + noise[0, HALF : HALF + 2, :8]
    assert (after[0, HALF : HALF + 2, :8] == expected).all()


# ---- what no compiler makes ------------------------------------------------------------------


def refused(message: str, works: list[Work]) -> None:
    with pytest.raises(MachineError, match=re.escape(message)):
        ran([works])


def test_writes_that_disagree_are_refused():
    works = [copier(), copier(), idle()]
    works[1].lists = [[entry(dest=0)]]
    refused("two clusters write different values to cluster 0", works)
    equal = draw_activation(np.random.default_rng(0), THREE)
    equal[1] = equal[0]
    ran([works], equal)


def test_writes_to_what_is_read_are_refused():
    works = [copier(out_base=0), copier(), idle()]
    refused("cluster 0 reads activations that the layer has written", works)
    works[0] = copier(out_base=0)
    works[0].lists = [[entry(dest=1)]]
    refused("cluster 1 reads activations that the layer has written", works)
    works[1].masks = [0]  # which is not read then
    works[1].fields["out_base"] = HALF
    ran([works])


def with_residual() -> Work:
    work = copier(residual=1, res_base=HALF)
    work.segments.insert(0, segment(drain=1, op=DrainOp.SET, residual=1))
    work.masks = [0, 1]
    return work


def test_residuals_that_another_cluster_writes_are_refused():
    works = [with_residual(), copier(), idle()]
    works[1].lists = [[entry(dest=0, count=0)]]
    works[0].fields["out_base"] = HALF + 1
    refused("cluster 0 reads a residual that the layer has written", works)
    works[0] = with_residual()
    works[0].fields |= {"vectors": 2}
    works[0].lists = [[entry()], [entry(offset=1)]]
    refused("cluster 0 reads a residual that the layer has written", [works[0], idle(), idle()])


CHANGES: list[tuple[str, dict[str, int], dict[int, dict[str, int]]]] = [
    ("a segment adds to what the last filter or a residual left", {}, {0: {"start": Start.KEEP}}),
    ("the first drain of sums must have op SET", {}, {0: {"op": DrainOp.ADD}}),
    ("an emission without a drain", {}, {0: {"drain": 0}}),
    ("a filter is not emitted", {}, {0: {"emit": 0}}),
    ("a drain shifts by -4; the array reaches 3", {}, {0: {"shift": -4}}),
    ("a reduction has more than one vector", {"reduce": 1, "vectors": 2}, {}),
    ("a pair of filters has a filter step", {"pair": 1, "filter_step": 1}, {}),
    ("a filter has no residual", {"residual": 1}, {}),
    ("a filter is not emitted", {"pair": 1}, {}),
    ("an emission without a drain", {"pair": 1}, {0: {"bank": 1, "drain": 0}}),
    ("the second of a pair is emitted first", {"pair": 1}, {0: {"bank": 1}}),
]


@pytest.mark.parametrize(("message", "fields", "changes"), CHANGES)
def test_descriptors_that_depend_on_the_pipeline_are_refused(message, fields, changes):
    work = copier(**fields)
    for index, values in changes.items():
        work.segments[index] |= values
    work.masks *= 2
    if "vectors" in fields:
        work.lists *= 2
    refused(message, [work, idle(), idle()])


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("a residual has more than one word", {"words": 2}),
        ("a residual is not drained", {"drain": 0}),
        ("residuals are drained with an op other than SET", {"op": DrainOp.ADD}),
        ("residuals are drained with an op other than SET", {"negate": 1}),
        ("residuals have an offset beside their word", {"offset": 1}),
    ],
)
def test_residuals_that_depend_on_the_pipeline_are_refused(message, changes):
    work = with_residual()
    work.segments[0] |= changes
    work.masks = [0, 0, 1]
    refused(message, [work, idle(), idle()])
    work = with_residual()
    work.fields["residual"] = 0
    refused("a layer without residual reads one", [work, idle(), idle()])


def test_residuals_of_a_pair_do_not_share_a_bank_beside_a_window_sum():
    work = pair_work(odd=False, window=True, residual=True)
    work.segments.insert(1, work.segments.pop(4))
    refused("residuals of two filters are kept at once", [work, idle(), idle()])


def test_the_largest_of_more_than_activations_is_refused():
    work = copier()
    work.segments = [
        segment(drain=1, op=DrainOp.SET, emit=0),
        segment(drain=1, op=DrainOp.MAX, emit=1),
    ]
    work.masks = [1, 2]
    ran([[work, idle(), idle()]])
    work.segments[1]["negate"] = 1
    refused("MAX with negated sums", [work, idle(), idle()])
    work.segments[1]["negate"] = 0
    for work.masks in ([31, 1], [1, 31]):
        refused("MAX compares more than activations", [work, idle(), idle()])
    work.masks = [1, 1]
    work.segments[0]["negate"] = 1
    refused("MAX compares more than activations", [work, idle(), idle()])


def test_entries_and_results_out_of_range_are_refused():
    work = copier()
    work.lists = [[entry(dest=3)]]
    refused("an entry writes cluster 3 of 3", [work, idle(), idle()])
    work = copier(reduce=1, wide=1, out_base=60)
    work.filters = [constants(channel=4)]
    refused("result 64 is written; the memory has 64", [work, idle(), idle()])
    work = copier(scatter_ptr=0)
    program = pack(THREE, [[work, idle(), idle()]])
    program.table[0] = [0] * THREE.table_depth
    machine = program.machine(draw_activation(np.random.default_rng(0), THREE))
    with pytest.raises(MachineError, match="no last entry"):
        machine.run(0, 1)
