"""Latencies of the gateware: what the cycle model and the compiler know of its pipelines.

They follow from the stages of `plum_hw.gateware.cluster`; the RTL tests compare predicted and
simulated cycles of every layer, so a wrong constant fails a test. Time is counted from the cycle of
the layer's first possible beat, cycle 0. Ref: docs/architecture.md, "Cycles", "Write buses".
"""

from __future__ import annotations

from plum_hw.config import ArrayConfig
from plum_hw.layouts import layer_layout

#: Cycles from the start of an emission to the earliest first step: constants, entry.
FIRST_STEP = 8
#: Cycles from an emission's finish to the earliest start of the next.
NEXT_EMISSION = 0
#: Cycles from the finish of an emission to the earliest beat that opens a bank it has read.
BANK_FREE = 1


def SLOT_ZERO(config: ArrayConfig) -> int:
    """The slots of bus p for cluster c are the cycles t of a layer with
    (t + SLOT_ZERO - c - floor(p * clusters / write_buses)) mod clusters == 0.
    """
    return 10 if config.slow_wires else 8


def BUS_STAGES(config: ArrayConfig) -> int:
    """Cycles from a cluster to the write bus: a tree of one level or, where wires are slow and many
    clusters far from each other, of two. None with a slow clock.
    """
    if config.slow_clock:
        return 0
    return 2 if config.lut_inputs == 4 and config.clusters > 2 else 1


def WRITE_STAGES(config: ArrayConfig) -> int:
    """Cycles from the write bus in a cluster to its activation memories, which lie far apart. No
    layer waits for them: the first beat of the next is much later.
    """
    return int(config.slow_wires)


def QUIET_CYCLES(config: ArrayConfig) -> int:
    """Cycles that the conductor sees all clusters quiet before it ends a layer: the last write must
    have reached its cluster before descriptors change.
    """
    return 9 + BUS_STAGES(config)


def LOAD(config: ArrayConfig) -> int:
    """Cycles of a layer before its first possible beat."""
    stages = 7 if config.slow_clock else 12 if config.slow_wires else 10
    return layer_layout(config).words + stages


def BEAT_TO_DRAIN(config: ArrayConfig) -> int:
    """Cycles from a beat's issue to the start of its drain: decoder and lanes, and the lanes'
    snapshot, which a drain of one lane a cycle makes itself; one cycle less with a slow clock.
    """
    if config.slow_clock:
        return 4
    return 6 if config.drain_lanes > 1 else 5


def DRAIN_LATENCY(config: ArrayConfig) -> int:
    """Cycles from the start of a drain until its sums may be addressed; with one lane a cycle lane
    0 of each group, and the others in their order.
    """
    if config.drain_lanes == 1:
        return config.lanes - config.group_lanes + 3
    return config.groups + 4


def EMIT_LATENCY(config: ArrayConfig) -> int:
    """Cycles from an emit beat to the earliest start of its emission, whose first step then finds
    its sums.
    """
    return BEAT_TO_DRAIN(config) + max(1, DRAIN_LATENCY(config) - FIRST_STEP)


def ENTRY_CYCLES(config: ArrayConfig, terms: int) -> int:
    """Cycles from the first step of a scatter entry to the earliest of the next."""
    return terms * config.group_parts


def REDUCE_CYCLES(config: ArrayConfig, terms: int) -> int:
    """Cycles from the first step of a reduction to its finish."""
    return config.groups * terms * config.reduce_steps - 1


def SETTLE(config: ArrayConfig) -> int:
    """Cycles of a layer after the last finish in any cluster: until no write is under way."""
    return QUIET_CYCLES(config) + 3
