"""Exact cycles of a layer, from its decoded program.

Nothing in the schedule depends on activations: beats follow from the mask words, the decoder waits
by two rules only, and emissions wait for their slots on the buses. Clusters do not wait for each
other within a layer. Ref: docs/architecture.md, "Cycles", "Drain, sums, emission", "Write buses";
constants in `plum_hw.timing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_hw.config import ArrayConfig
from plum_hw.layouts import DrainOp, Select
from plum_hw.timing import (
    BANK_FREE,
    EMIT_LATENCY,
    ENTRY_CYCLES,
    FIRST_STEP,
    LOAD,
    NEXT_EMISSION,
    REDUCE_CYCLES,
    SETTLE,
    SLOT_ZERO,
)

from .decode import LayerCode

Array = NDArray[Any]

#: Of a scatter entry that writes nothing.
_NO_BUS = -1
#: Long ago: no drain or emission of this layer yet.
_NEVER = -(1 << 60)
# Banks as a vector sees them: those that alternate from vector to vector are exchanged between two
# vectors, so that every vector walks the same steps.
#: Sums of the present vector's window.
_WINDOW_BANK = 2
#: Sums of the residual of filter bank 0, or, beside a window sum, of every residual.
_RESIDUAL_BANK = 2
_RESIDUAL_BANK_BESIDE_WINDOW = 3


@dataclass(frozen=True, kw_only=True)
class ClusterCycles:
    """What one cluster spends a layer on.

    *Members*: ``span``, cycles from the layer's first possible beat to the finish of its last
    emission, both included; ``beats``; ``empty_beats`` of them, of empty mask words;
    ``drain_stalls`` and ``emit_stalls``, cycles that a beat waited (for the drain, else for the
    emitter); ``drain_busy``, ``write_busy``: cycles in which these two were taken.
    """

    span: int = 0
    beats: int = 0
    empty_beats: int = 0
    drain_stalls: int = 0
    emit_stalls: int = 0
    drain_busy: int = 0
    write_busy: int = 0


@dataclass(frozen=True, kw_only=True)
class LayerCycles:
    """Cycles of one layer on the whole device.

    *Members*: ``cycles`` in all; ``beats``, ``drain_stalls``, ``emit_stalls``, summed over the
    clusters; ``overhead``, cycles that no cluster can work in, however little there is to do;
    ``clusters``, the figures of each.
    """

    cycles: int
    beats: int
    drain_stalls: int
    emit_stalls: int
    overhead: int
    clusters: tuple[ClusterCycles, ...]

    @property
    def bound_by(self) -> str:
        """The part with the most work on the slowest cluster: "lanes"; "weights", where most words
        are empty; "drain"; "write-back"; or "latency".
        """
        slowest = max(self.clusters, key=lambda cluster: cluster.span)
        work = {
            "issue": slowest.beats,
            "drain": slowest.drain_busy,
            "write-back": slowest.write_busy,
            "latency": self.overhead,
        }
        part = max(work, key=lambda name: work[name])
        if part != "issue":
            return part
        return "weights" if 2 * slowest.empty_beats > slowest.beats else "lanes"


def layer_cycles(config: ArrayConfig, codes: Sequence[LayerCode]) -> LayerCycles:
    """Predict one layer. ``codes`` : what each cluster has, in their order."""
    clusters = tuple(_Cluster(config, code, number).run() for number, code in enumerate(codes))
    frame = LOAD(config) + SETTLE(config)
    return LayerCycles(
        cycles=frame + max(cluster.span for cluster in clusters),
        beats=sum(cluster.beats for cluster in clusters),
        drain_stalls=sum(cluster.drain_stalls for cluster in clusters),
        emit_stalls=sum(cluster.emit_stalls for cluster in clusters),
        overhead=frame + EMIT_LATENCY(config) + FIRST_STEP,
        clusters=clusters,
    )


def lane_use(
    config: ArrayConfig, codes: Sequence[LayerCode], cycles: int, pixels: float | Sequence[float]
) -> float:
    """Share of all lane cycles of the device that add an activation for a pixel, 0 to 1.

    Not counted are cycles without a set mask bit (loading, stalls, empty words, residuals,
    emission), and lanes right of a row's end, below the last row or outside the strips.

    pixels : of the maps that each cluster's lanes work on, in all its vectors together; one number
        if it is the same for all
    """
    shares = np.broadcast_to(np.asarray(pixels, float), (len(codes),))
    used = 0.0
    for code, share in zip(codes, shares.tolist(), strict=True):
        bits = int(np.bitwise_count(code.masks[:, ~code.residual_words]).sum())
        if code.fields["shared_masks"]:
            bits *= code.fields["passes"]
        used += (bits + int(np.bitwise_count(code.window_masks).sum())) * share
    return used / (cycles * config.lanes * config.clusters)


# ---- estimates, for the compiler's choices -------------------------------------------------------


def pass_beats(masks: Array) -> Array:
    """Beats of each pass: ``masks`` unsigned [passes, words], without addresses of residuals."""
    return np.maximum(np.bitwise_count(masks), 1).sum(axis=1, dtype=np.int64)


def emission_cycles(config: ArrayConfig, targets: Sequence[int], terms: int) -> int:
    """Fewest cycles from the start of an emission to that of the next.

    targets : groups that the entries write; terms : 1 + window + residual
    """
    slots = _Slots(config, 0, [config.bus_of(group) for group in targets], terms)
    walk = min(slots.finish(first) - first for first in range(config.clusters))
    return FIRST_STEP + walk + NEXT_EMISSION


def lower_bound(config: ArrayConfig, beats: Array, vectors: int, writing: int = 0) -> int:
    """Cycles that a layer takes at least.

    beats : of one cluster up to each drain, [passes, drains]; writing : cycles that the emissions
    of all passes take for one vector
    """
    issue = int(np.maximum(beats, config.drain_cycles).sum())
    return LOAD(config) + vectors * max(issue, writing) + SETTLE(config)


# ---- one cluster ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """Beats up to a drain, or to the end of a pass.

    *Members*: ``beats``; ``drain`` with the last; ``opens``, the bank that this opens, or -1;
    ``reads``, banks that the emission reads which begins here, or None.
    """

    beats: int
    drain: bool
    opens: int
    reads: tuple[int, ...] | None


class _Slots:
    """How long the entries of a scatter list take, which depends on the cycle modulo ``clusters``.

    buses : of each entry; -1 for one that waits for none
    """

    def __init__(self, config: ArrayConfig, cluster: int, buses: Sequence[int], terms: int) -> None:
        self._clusters = config.clusters
        self._steps = ENTRY_CYCLES(config, terms)
        self._free = [
            None
            if bus == _NO_BUS
            else cluster + bus * config.clusters // config.write_buses - SLOT_ZERO(config)
            for bus in buses
        ]
        self._seen: dict[int, int] = {}

    def first(self, time: int) -> int:
        """The first entry's first slot from a time on."""
        return time + self._wait(self._free[0], time)

    def finish(self, time: int) -> int:
        """Last step of the last entry, if the first may begin at ``time``."""
        phase = time % self._clusters
        if phase not in self._seen:
            next_step = phase
            for free in self._free:
                next_step += self._wait(free, next_step) + self._steps
            self._seen[phase] = next_step - 1 - phase
        return time + self._seen[phase]

    def _wait(self, free: int | None, time: int) -> int:
        return 0 if free is None else (free - time) % self._clusters


class _Cluster:
    """Beats as the decoder issues them, and emissions as they follow; ``now`` is the cycle in which
    the next beat may be issued.
    """

    def __init__(self, config: ArrayConfig, code: LayerCode, number: int) -> None:
        fields = code.fields
        self.drain_cycles = config.drain_cycles
        self.clusters = config.clusters
        self.latency = EMIT_LATENCY(config)
        self.reduce = REDUCE_CYCLES(config, code.terms) if fields["reduce"] else None
        self.vectors = fields["vectors"] if fields["passes"] else 0
        self.steps = _steps(code)
        self.empty_beats = self.vectors * _empty_beats(code)
        self.order = _next_vector(code)
        buses = _buses(config, code)
        lists = {key: _Slots(config, number, key, code.terms) for key in set(buses)}
        self.lists = [lists[key] for key in buses]

        self.now = 0
        self.drain_stalls = 0
        self.emit_stalls = 0
        self.write_busy = 0
        self.drained = _NEVER  # when the next drain may begin
        self.finish = _NEVER
        self.free = [_NEVER] * 4  # when each bank may be opened
        self.accepts = _NEVER  # when an emission may begin: not before the last but one is finished
        self._seen: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def run(self) -> ClusterCycles:
        """All vectors."""
        for number in range(self.vectors):
            self._vector(self.lists[number])
            self.free = [self.free[bank] for bank in self.order]
        drains = sum(step.drain for step in self.steps)
        return ClusterCycles(
            span=max(self.now, self.finish + 1),
            beats=self.now - self.drain_stalls - self.emit_stalls,
            empty_beats=self.empty_beats,
            drain_stalls=self.drain_stalls,
            emit_stalls=self.emit_stalls,
            drain_busy=self.vectors * drains * self.drain_cycles,
            write_busy=self.write_busy,
        )

    def _vector(self, slots: _Slots) -> None:
        """One output vector. What waits depends on a few last times only, and these soon repeat
        from vector to vector, so a repeated vector is not walked again.
        """
        key = (
            slots,
            self.now % self.clusters,
            max(self.drained - self.now, 0),
            max(self.finish - self.now, self.latency - NEXT_EMISSION),
            *[max(time - self.now, 0) for time in (self.accepts, *self.free)],
        )
        before = (self.now, self.drain_stalls, self.emit_stalls, self.write_busy)
        if key not in self._seen:
            self._walk(slots)
            after = (self.now, self.drain_stalls, self.emit_stalls, self.write_busy)
            self._seen[key] = (
                *[new - old for new, old in zip(after, before, strict=True)],
                *[t - self.now for t in (self.drained, self.finish, self.accepts, *self.free)],
            )
            return
        elapsed, drain_stalls, emit_stalls, write_busy, *times = self._seen[key]
        self.now += elapsed
        self.drain_stalls += drain_stalls
        self.emit_stalls += emit_stalls
        self.write_busy += write_busy
        self.drained, self.finish, self.accepts, *self.free = (self.now + time for time in times)

    def _walk(self, slots: _Slots) -> None:
        free = self.free
        for step in self.steps:
            beat = self.now + step.beats - 1
            if step.drain:
                wait = max(0, self.drained - beat)
                self.drain_stalls += wait
                beat += wait
                until = free[step.opens] if step.opens >= 0 else beat
                if step.reads is not None:
                    until = max(until, self.accepts)
                wait = max(0, until - beat)
                self.emit_stalls += wait
                beat += wait
                self.drained = beat + self.drain_cycles
            self.now = beat + 1
            if step.reads is None:
                continue
            self.accepts = self.finish + BANK_FREE
            start = max(beat + self.latency, self.finish + NEXT_EMISSION)
            if self.reduce is None:
                self.finish = slots.finish(start + FIRST_STEP)
            else:
                self.finish = slots.first(start + FIRST_STEP) + self.reduce
            self.write_busy += self.finish + NEXT_EMISSION - start
            for bank in step.reads:
                free[bank] = self.finish + BANK_FREE


def _next_vector(code: LayerCode) -> list[int]:
    """Which bank of a vector is which of the next one."""
    fields = code.fields
    odd = bool(fields["passes"] % 2)
    if code.four_banks:
        return [2, 3, 0, 1] if odd else [0, 1, 2, 3]
    # Residuals' alternate with those of their filters, window sums' where residuals need none.
    sides = (not fields["residual"]) if code.window else odd
    return [1, 0][:: 1 if odd else -1] + [3, 2][:: 1 if sides else -1]


def _beats(code: LayerCode) -> tuple[Array, Array]:
    """Beats of every word: of the window pass [0 or 1, words], and [passes or 1, words]."""
    beats = np.maximum(np.bitwise_count(code.masks), 1).astype(np.int64)
    beats[:, code.residual_words] = 1
    return np.maximum(np.bitwise_count(code.window_masks), 1).astype(np.int64), beats


def _empty_beats(code: LayerCode) -> int:
    """Beats of empty words in one vector."""
    empty = int((code.masks[:, ~code.residual_words] == 0).sum())
    if code.fields["shared_masks"]:
        empty *= code.fields["passes"]
    return empty + int((code.window_masks == 0).sum())


def _buses(config: ArrayConfig, code: LayerCode) -> list[tuple[int, ...]]:
    """Bus of each entry of each vector's list."""
    fields = code.fields
    if not fields["passes"]:
        return []
    if fields["reduce"] and fields["wide"]:
        return [(0,)] * fields["vectors"]
    entries = zip(code.entries["target"].tolist(), code.entries["select"].tolist(), strict=True)
    buses = [
        _NO_BUS if select == Select.HOLD else config.bus_of(target) for target, select in entries
    ]
    ends = (np.flatnonzero(code.entries["last"]) + 1).tolist()
    lists = [tuple(buses[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    return lists * (fields["vectors"] if fields["reduce"] else 1)


def _parts(segments: dict[str, Array], beats: Array) -> list[tuple[int, int]]:
    """Beats [words] of one pass, added up to each drain and to the end: (segment, beats)."""
    ends = np.cumsum(segments["words"])
    marks = np.flatnonzero(segments["drain"])
    if not len(marks) or marks[-1] != len(ends) - 1:
        marks = np.append(marks, len(ends) - 1)
    upto = np.append(0, np.cumsum(beats))[ends[marks]]
    return list(zip(marks.tolist(), np.diff(upto, prepend=0).tolist(), strict=True))


def _steps(code: LayerCode) -> list[_Step]:
    """The steps of one vector. The sums' banks are those of docs/architecture.md, "Cycles"."""
    fields, segments = code.fields, code.segments
    window_beats, beats = _beats(code)
    steps = []
    for row in window_beats:
        for index, count in _parts(code.window_segments, row):
            drain = bool(code.window_segments["drain"][index])
            opens = drain and code.window_segments["op"][index] == DrainOp.SET
            steps.append(_Step(count, drain, _WINDOW_BANK if opens else -1, None))

    drains, emits = segments["drain"].astype(bool).tolist(), segments["emit"].tolist()
    sets = (segments["op"] == DrainOp.SET).tolist()
    residuals, banks = segments["residual"].tolist(), segments["bank"].tolist()
    parts = [_parts(segments, row) for row in beats]
    for number in range(fields["passes"]):
        for index, count in parts[number % len(parts)]:
            bank = code.bank(number, banks[index])
            side = _RESIDUAL_BANK_BESIDE_WINDOW if code.window else _RESIDUAL_BANK + bank
            opens, reads = -1, None
            if drains[index] and sets[index]:
                opens = side if residuals[index] else bank
            if (
                drains[index]
                and emits[index]
                and code.filter_number(number, banks[index]) is not None
            ):
                reads = (
                    bank,
                    *([_WINDOW_BANK] if code.window else []),
                    *([side] if fields["residual"] else []),
                )
            steps.append(_Step(count, drains[index], opens, reads))
    return steps
