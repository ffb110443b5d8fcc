"""Latencies of the gateware that the cycle model and the compiler need.

They follow from the pipeline stages in `plum_hw.gateware.cluster`; the RTL tests compare predicted
and simulated cycles of every layer, so a wrong constant fails a test.
"""

from __future__ import annotations

from plum_hw.config import ArrayConfig
from plum_hw.layouts import layer_layout

#: Cycles from the end of loading a layer descriptor to the layer's first beat.
FIRST_BEAT = 8
#: Cycles from an emit beat to the start of its emission, without the drain's `groups` cycles.
BEAT_TO_EMIT = 6
#: Cycles of an emission beyond its entries: reading constants, multiplier and write-back latency.
EMIT_LATENCY = 10
#: Further cycles of a reduction: summing the lanes of a group one by one.
REDUCE_LATENCY = 10


def load_cycles(config: ArrayConfig) -> int:
    """Cycles from taking up a layer to its first beat."""
    return layer_layout(config).words + FIRST_BEAT


def emission_cycles(config: ArrayConfig, *, entries: int, terms: int, reduce: bool) -> int:
    """Cycles that the emitter is busy with one filter.

    entries : scatter entries of the vector (ignored for a reduction, which visits every group once)
    terms : 1, plus one for the window sum, plus one for a residual
    """
    if reduce:
        return EMIT_LATENCY + config.groups * terms + REDUCE_LATENCY
    return EMIT_LATENCY + entries * terms


def emit_gap(config: ArrayConfig, *, entries: int, terms: int, reduce: bool, residual: bool) -> int:
    """Least distance of two emit beats, so that no emission meets the next.

    The residual register is loaded at the emit beat, before the previous emission may have ended
    that began `BEAT_TO_EMIT + groups` cycles after its own beat.
    """
    gap = emission_cycles(config, entries=entries, terms=terms, reduce=reduce)
    return gap + (BEAT_TO_EMIT + config.groups if residual else 0)


def flush_cycles(config: ArrayConfig, *, entries: int, terms: int, reduce: bool) -> int:
    """Cycles from a layer's last beat to the end of the layer (its last write done)."""
    return (
        BEAT_TO_EMIT
        + config.groups
        + emission_cycles(config, entries=entries, terms=terms, reduce=reduce)
    )
