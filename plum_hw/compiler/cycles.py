"""Exact cycles of a layer, from its decoded program.

Nothing in the schedule depends on activations: beats follow from the mask words, and the decoder
waits by two rules only. Ref: docs/architecture.md, "Cycles"; constants in `plum_hw.timing`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plum_hw.config import ArrayConfig
from plum_hw.timing import flush_cycles, load_cycles

from .decode import LayerCode

#: Long ago: no drain or emission of this layer yet.
_NEVER = -(1 << 60)


@dataclass(frozen=True, kw_only=True)
class LayerCycles:
    """Cycles of one layer, and what they are spent on.

    *Members*: ``cycles`` in all; ``beats`` of the lanes; ``residual_beats``, which leave the lanes
    alone; ``drain_stalls`` and ``emit_stalls``, cycles that a beat waited (for the drain, else for
    the emitter); ``overhead``, loading and flushing; ``drain_busy``, ``emit_busy``: least cycles
    that these two need for the layer.

    ``cycles == overhead + beats + residual_beats + drain_stalls + emit_stalls``
    """

    cycles: int
    beats: int
    residual_beats: int
    drain_stalls: int
    emit_stalls: int
    overhead: int
    drain_busy: int
    emit_busy: int

    @property
    def bound_by(self) -> str:
        """The part with the most work: "lanes", "drain", "emitter", or "latency" (overhead)."""
        work = {
            "lanes": self.beats + self.residual_beats,
            "drain": self.drain_busy,
            "emitter": self.emit_busy,
            "latency": self.overhead,
        }
        return max(work, key=lambda part: work[part])


def layer_cycles(config: ArrayConfig, code: LayerCode) -> LayerCycles:
    """Predict one layer."""
    fields = code.fields
    issue = _Issue(config, code)
    for _ in range(fields["vectors"]):
        issue.vector()
    reduce = bool(fields["reduce"])
    overhead = load_cycles(config) + flush_cycles(
        config, entries=code.last_entries, terms=code.terms, reduce=reduce
    )
    drains = int(code.segments["drain"].sum())
    residual_beats = code.emitted * fields["vectors"] if fields["residual"] else 0
    return LayerCycles(
        cycles=overhead + issue.now,
        beats=issue.now - residual_beats - issue.drain_stalls - issue.emit_stalls,
        residual_beats=residual_beats,
        drain_stalls=issue.drain_stalls,
        emit_stalls=issue.emit_stalls,
        overhead=overhead,
        drain_busy=drains * fields["filters"] * fields["vectors"] * config.groups,
        emit_busy=code.emitted * fields["vectors"] * fields["emit_gap"],
    )


def lane_use(config: ArrayConfig, code: LayerCode, cycles: int, pixels: float) -> float:
    """Share of all lane cycles that add an activation for a pixel of the map, 0 to 1.

    Not counted are cycles without a set mask bit (loading, stalls, empty words, residual beats,
    flushing), and lanes right of a row's end, below the last row or outside the strips.

    pixels : of the map that the lanes work on, in all vectors together
    """
    bits = int(np.bitwise_count(code.masks).sum())
    if code.fields["shared_masks"]:
        bits *= code.fields["filters"]
    return bits * pixels / (cycles * config.lanes)


class _Issue:
    """Beats as the decoder issues them. ``now`` counts cycles, the last beat's included."""

    def __init__(self, config: ArrayConfig, code: LayerCode) -> None:
        fields = code.fields
        self.groups = config.groups
        self.gap = fields["emit_gap"]
        self.residual = bool(fields["residual"])
        self.filters = fields["filters"]
        self.first_emitted = fields["window"]
        self.patterns = _patterns(code)
        self.now = 0
        self.drain_stalls = 0
        self.emit_stalls = 0
        self.last_drain = _NEVER
        self.last_emit = _NEVER
        self._seen: dict[tuple[int, int], tuple[int, int, int, int, int]] = {}

    def vector(self) -> None:
        """One output vector. What waits depends on the two last times only, and these soon repeat
        from vector to vector, so a repeated vector is not walked again.
        """
        key = (
            max(self.last_drain - self.now, -self.groups),
            max(self.last_emit - self.now, -self.gap),
        )
        if key not in self._seen:
            before = (self.now, self.drain_stalls, self.emit_stalls)
            self._walk()
            self._seen[key] = (
                self.now - before[0],
                self.drain_stalls - before[1],
                self.emit_stalls - before[2],
                self.last_drain - self.now,
                self.last_emit - self.now,
            )
            return
        elapsed, drain_stalls, emit_stalls, last_drain, last_emit = self._seen[key]
        self.now += elapsed
        self.drain_stalls += drain_stalls
        self.emit_stalls += emit_stalls
        self.last_drain = self.now + last_drain
        self.last_emit = self.now + last_emit

    def _walk(self) -> None:
        for number in range(self.filters):
            for beats, drain in self.patterns[number % len(self.patterns)]:
                self.now += beats
                if drain:
                    wait = max(0, self.last_drain + self.groups - self.now)
                    self.drain_stalls += wait
                    self.now += wait
                    self.last_drain = self.now
            if number < self.first_emitted:
                continue
            self.now += self.residual
            wait = max(0, self.last_emit + self.gap - self.now)
            self.emit_stalls += wait
            self.now += wait
            self.last_emit = self.now
            if drain and not self.residual:
                self.last_drain = self.now  # the same beat


def _patterns(code: LayerCode) -> list[list[tuple[int, bool]]]:
    """For each filter (or for all, if they share masks) the beats up to each drain."""
    segments = code.segments
    ends = np.cumsum(segments["words"])
    drain = segments["drain"].astype(bool)
    marks = drain.copy()
    marks[-1] = True
    beats = np.maximum(np.bitwise_count(code.masks), 1).astype(np.int64)
    total = np.concatenate([np.zeros((len(beats), 1), np.int64), np.cumsum(beats, axis=1)], axis=1)
    upto = total[:, ends[marks]]
    parts = np.diff(upto, axis=1, prepend=0)
    flags = drain[marks].tolist()
    return [list(zip(row, flags, strict=True)) for row in parts.tolist()]
