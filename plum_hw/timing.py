"""Latencies of the gateware: what the cycle model and the compiler know of its pipelines.

They follow from the stages of `plum_hw.gateware.cluster`; the RTL tests compare predicted and
simulated cycles of every layer, so a wrong constant fails a test.
"""

from __future__ import annotations

from plum_hw.config import ArrayConfig
from plum_hw.layouts import layer_layout

#: Cycles from the last word of a layer descriptor to the layer's first beat: sequencer, walker,
#: fetcher, decoder.
FIRST_BEAT = 8
#: Cycles from a beat's issue to its sum in the snapshot: decoder and lanes.
BEAT_TO_SNAPSHOT = 6
#: Cycles from the start of an emission to the step that reads the first sums: constants, entry.
FIRST_STEP = 8
#: Cycles from an emission's last step to its last write, and to the sequencer's next state.
_WRITE = 8
#: Cycles from a reduction's last step until its output is written, besides one for each lane.
_REDUCE_WRITE = 8


def drain_latency(config: ArrayConfig) -> int:
    """Cycles from a new snapshot until all its sums can be read."""
    return config.groups + 2


def snapshot_to_emission(config: ArrayConfig) -> int:
    """Cycles from a filter's last snapshot to the start of its emission, which reads its first sums
    `FIRST_STEP` cycles later.
    """
    return max(1, drain_latency(config) - FIRST_STEP)


def load_cycles(config: ArrayConfig) -> int:
    """Cycles from taking up a layer to its first beat."""
    return layer_layout(config).words + FIRST_BEAT


def emission_cycles(config: ArrayConfig, *, entries: int, terms: int, reduce: bool) -> int:
    """Cycles from the start of an emission to the earliest start of the next.

    entries : scatter entries of the vector (ignored for a reduction, which visits every group once)
    terms : 1, plus one for the window sum, plus one for a residual
    """
    if reduce:
        return FIRST_STEP - 1 + config.groups * terms + config.group_lanes + _REDUCE_WRITE
    return FIRST_STEP - 1 + entries * terms


def emit_gap(config: ArrayConfig, *, entries: int, terms: int, reduce: bool, residual: bool) -> int:
    """Least distance of two emit beats, so that no emission meets the next.

    The residual register changes soon after the emit beat, at a time when the emission before may
    still be reading it.
    """
    gap = emission_cycles(config, entries=entries, terms=terms, reduce=reduce)
    return gap + (snapshot_to_emission(config) + 2 if residual else 0)


def flush_cycles(config: ArrayConfig, *, entries: int, terms: int, reduce: bool) -> int:
    """Cycles from a layer's last beat to the end of the layer (its last write done)."""
    emission = emission_cycles(config, entries=entries, terms=terms, reduce=reduce)
    tail = 1 if reduce else _WRITE
    return BEAT_TO_SNAPSHOT + snapshot_to_emission(config) + emission + tail
