"""One layer of one cluster, prepared for NumPy: products of matrices instead of beats.

A lane accumulator is linear in the activations until it is drained, so the mask words up to each
drain become one matrix of coefficients. Registers wrap as the gateware's do, and where one does,
`Kernel.run` says so. Which sums an emission reads is checked once, by the rules of compiled
programs; then banks need no simulation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_hw.compiler.decode import LayerCode
from plum_hw.config import SHIFTS, ArrayConfig
from plum_hw.layouts import LOW_BITS, DrainOp, Start

from .faults import MachineError, require
from .writes import decode_writes

Array = NDArray[Any]


#: Multiplications up to which OpenBLAS keeps to one thread.
_BLAS_WORK = 1 << 18


@dataclass(frozen=True)
class _Drain:
    """One drain.

    *Members*: ``addresses`` of the activations that the lanes have added, [vectors, n] or [passes,
    vectors, n]; ``matrix``, how often, float [passes or 1, n]; ``lanes``, the lane that each lane
    takes, or the number of lanes for a zero; ``op``; ``negate``.
    """

    addresses: Array
    matrix: Array
    lanes: Array
    op: DrainOp
    negate: bool


@dataclass
class _Sums:
    """What a vector's drains add up, for each pass: the sums of a filter, window or residual.

    *Members*: ``drains``; ``emitted``, whether an emission of this pass has read it.
    """

    drains: list[_Drain] = field(default_factory=list)
    emitted: bool = False

    def add(self, drain: _Drain, what: str) -> None:
        """One more drain. Raises `MachineError` where the sums have no value of their own."""
        if self.emitted:
            raise MachineError(f"a drain changes {what} after their emission")
        if (not self.drains) != (drain.op == DrainOp.SET):
            raise MachineError(f"the first drain of {what} must have op SET, no other may")
        if drain.op == DrainOp.MAX and drain.negate:
            raise MachineError(f"MAX with negated {what}")
        self.drains.append(drain)


def _product(matrix: Array, inputs: Array) -> Array:
    """Products ``matrix`` [f, n] @ ``inputs`` [v, n, lanes], in parts too small for BLAS to wake
    its threads: on a busy machine these were measured twenty times slower.
    """
    step = max(8, _BLAS_WORK // (matrix.shape[0] * inputs.shape[2]))
    result = matrix[:, :step] @ inputs[:, :step]
    for first in range(step, matrix.shape[1], step):
        result += matrix[:, first : first + step] @ inputs[:, first : first + step]
    return result


def _wrap_signed(values: Array, bits: int) -> Array:
    half = 1 << (bits - 1)
    return ((values + half) & ((1 << bits) - 1)) - half


class Kernel:
    """A decoded layer of one cluster, ready to run.

    *Members*: ``code``; ``size``, the outputs' number (results, if ``wide``); ``writes``;
    ``results``, addresses in result memory, if ``wide``; ``reads``, vectors of activation memory
    that the lanes add; ``residuals`` [filters, vectors], vectors that are read as residuals;
    ``used`` bool [vectors, lanes], lanes whose sums matter.

    Outputs are of the filters in the order of emission, [filters, vectors, lanes].

    Raises `MachineError` if the program adds to what was left from before, or reads sums at a time
    when they are no filter's.
    """

    def __init__(self, config: ArrayConfig, code: LayerCode) -> None:
        self.config = config
        self.code = code
        fields = code.fields
        self._wrap = (1 << config.act_addr_bits) - 1
        vectors = fields["vectors"] if fields["passes"] else 0
        require(not fields["reduce"] or vectors <= 1, "a reduction has more than one vector")
        require(
            not (fields["pair"] and fields["filter_step"]), "a pair of filters has a filter step"
        )
        self._vectors = np.arange(vectors)
        self._filters = self._emission_order()
        self._window = _Sums()
        self._sums = [_Sums() for _ in range(1 + fields["pair"])]
        self.residuals = np.zeros((0, vectors), np.int64)
        if vectors:
            self._decode()
        self.wide = bool(fields["reduce"] and fields["wide"])
        self.size = len(self._filters) * vectors * (1 if self.wide else config.lanes)
        self.results = np.zeros(0, np.int64)
        if self.wide:
            address = fields["out_base"] + code.constants["channel"][self._filters]
            self.results = address & ((1 << max(config.act_addr_bits, 12)) - 1)
        self.writes = decode_writes(config, code, self._filters, self.size)
        self.reads = self._read_vectors()
        self.used = self._used_lanes()

    # ---- preparation -----------------------------------------------------------------------------

    def _emission_order(self) -> Array:
        """Numbers of the filters."""
        banks = range(1 + self.code.fields["pair"])
        numbers = [
            self.code.filter_number(number, bank)
            for number in range(self.code.fields["passes"])
            for bank in banks
        ]
        return np.array([number for number in numbers if number is not None], np.int64)

    def _decode(self) -> None:
        """All drains of a vector, and checks that every emission finds its sums."""
        code, fields = self.code, self.code.fields
        for index, drain in self._chains(code.window_segments, code.window_masks, 0):
            require(not code.window_segments["emit"][index], "a window sum is emitted")
            require(not code.window_segments["residual"][index], "a window sum has a residual")
            self._window.add(drain, "window sums")

        # A residual is kept beside the sums of its filter, or, with a window sum, in the one place
        # that is left: then it must not come before the emission of the filter before.
        segments, pair = code.segments, bool(fields["pair"])
        pending: list[int] = []
        residuals: dict[int, Array] = {}
        ramp = fields["filter_step"] * np.arange(fields["passes"])
        for index, drain in self._chains(segments, code.masks, fields["filter_step"]):
            bank = int(segments["bank"][index]) if pair else 0
            sums = self._sums[bank]
            if segments["residual"][index]:
                what = "residuals"
                require(bool(fields["residual"]), "a layer without residual reads one")
                require(not sums.emitted and bank not in residuals, f"a drain changes {what}")
                require(not pending or not code.window, f"{what} of two filters are kept at once")
                require(
                    drain.op == DrainOp.SET and not drain.negate and not segments["shift"][index],
                    f"{what} are drained with an op other than SET, negated or shifted",
                )
                require(not segments["offset"][index], f"{what} have an offset beside their word")
                pending.append(bank)
                first = int(segments["words"][:index].sum())
                rows = (code.masks[:, first].astype(np.int64) + ramp) & self._wrap
                step = fields["res_base"] + self._vectors * fields["res_step"]
                residuals[bank] = (rows[:, None] + step) & self._wrap
            else:
                sums.add(drain, "sums")
            if segments["emit"][index]:
                require(bool(sums.drains) and not sums.emitted, "an emission has no sums")
                require(bank == 0 or self._sums[0].emitted, "the second of a pair is emitted first")
                if fields["residual"]:
                    require(bank in pending, "a filter has no residual")
                    pending.remove(bank)
                sums.emitted = True
        require(all(sums.emitted for sums in self._sums), "a filter is not emitted")
        require(not code.window or bool(self._window.drains), "a window sum is not drained")
        if residuals:
            both = np.stack([residuals[bank] for bank in sorted(residuals)], axis=1)
            numbered = both.reshape(-1, len(self._vectors))
            self.residuals = numbered[self._filters]

    def _chains(
        self, segments: dict[str, Array], masks: Array, filter_step: int
    ) -> list[tuple[int, _Drain]]:
        """The drains of a pass, each with the number of the segment that it ends."""
        config = self.config
        rows = len(masks)
        bits = np.unpackbits(
            masks.astype("<u4").view(np.uint8).reshape(*masks.shape, 4), axis=2, bitorder="little"
        )[:, :, : config.mask_bits]
        offsets = np.zeros(0, np.int64)
        matrix = np.zeros((rows, 0), np.int64)
        word = 0
        found: list[tuple[int, _Drain]] = []
        residual = True  # what the lanes hold may not be added to
        for index in range(len(segments["words"])):
            start, words = int(segments["start"][index]), int(segments["words"][index])
            if residual and start != Start.CLEAR:
                raise MachineError("a segment adds to what the last filter or a residual left")
            residual = bool(segments["residual"][index])
            if start == Start.CLEAR:
                offsets, matrix = offsets[:0], matrix[:, :0]
            elif start == Start.DOUBLE:
                matrix = (2 * matrix) & ((1 << config.acc_bits) - 1)
            if residual:
                require(words == 1, "a residual has more than one word")
                require(bool(segments["drain"][index]), "a residual is not drained")
            else:
                part = bits[:, word : word + words].reshape(rows, words * config.mask_bits)
                used = np.flatnonzero(part.any(axis=0))
                offsets = np.concatenate([offsets, segments["offset"][index] + used])
                matrix = np.concatenate([matrix, part[:, used].astype(np.int64)], axis=1)
            word += words
            if not segments["drain"][index]:
                require(not segments["emit"][index], "an emission without a drain")
                continue
            offsets, matrix = self._merged(offsets, matrix)
            found.append((index, self._drain(segments, index, offsets, matrix, filter_step)))
        return found

    def _merged(self, offsets: Array, matrix: Array) -> tuple[Array, Array]:
        """The same sums with every address once."""
        merged, inverse = np.unique(offsets & self._wrap, return_inverse=True)
        total = np.zeros((len(matrix), len(merged)), np.int64)
        np.add.at(total.T, inverse, matrix.T)
        return merged, total

    def _drain(
        self, segments: dict[str, Array], index: int, offsets: Array, matrix: Array, step: int
    ) -> _Drain:
        fields = self.code.fields
        addresses = fields["in_base"] + self._vectors[:, None] * fields["in_step"] + offsets
        if step:
            addresses = addresses + np.arange(fields["passes"])[:, None, None]
        peak = int(matrix.sum(axis=1).max(initial=0)) << self.config.act_bits
        return _Drain(
            addresses & self._wrap,
            matrix.astype(np.float32 if peak < 1 << 24 else np.float64),
            self._aligned(int(segments["shift"][index])),
            DrainOp(int(segments["op"][index])),
            bool(segments["negate"][index]),
        )

    def _aligned(self, shift: int) -> Array:
        """The lane that each lane takes; one beyond the last for a zero."""
        config = self.config
        if abs(shift) > config.reach:
            raise MachineError(f"a drain shifts by {shift}; the array reaches {config.reach}")
        edges = [(self.code.fields["left_edge"] >> g) & 1 for g in range(config.groups)]
        strip = np.repeat(np.cumsum(edges), config.group_lanes)
        source = np.arange(config.lanes) + shift
        inside = (source >= 0) & (source < config.lanes)
        inside &= strip[source.clip(0, config.lanes - 1)] == strip
        return np.where(inside, source, config.lanes)

    def _used_lanes(self) -> Array:
        """Lanes whose sums matter: the others add up what lies beside a map,
        and may overflow.
        """
        used = np.zeros((len(self._filters), len(self._vectors), self.config.lanes), bool)
        if self.code.fields["reduce"]:
            return np.ones(used.shape[1:], bool)
        used.reshape(-1)[self.writes.source[self.writes.source < used.size]] = True
        return np.asarray(used.any(axis=0))

    def _read_vectors(self) -> Array:
        reads = np.zeros(1 << self.config.act_addr_bits, bool)
        for sums in (self._window, *self._sums):
            for drain in sums.drains:
                reads[drain.addresses] = True
        return reads

    # ---- execution -------------------------------------------------------------------------------

    def run(self, activation: Array, report: set[str]) -> Array:
        """Run the layer on the activation memory as it was before, uint8 [depth, lanes]. Returns
        the outputs, uint8 [size], or 32-bit results, uint32 [size], if ``wide``. Names of registers
        that overflow go into ``report``.
        """
        code, config = self.code, self.config
        fields = code.fields
        if not self.size:
            return np.zeros(0, np.uint8)
        constants = {key: code.constants[key][self._filters] for key in code.constants}
        passes = fields["passes"]
        banks = [self._add_up(sums, passes, activation, report) for sums in self._sums]
        sums = np.stack(banks, axis=1).reshape(-1, *banks[0].shape[1:])[self._filters]
        t = constants["scale"][:, None, None] * sums
        if code.window:
            window = self._add_up(self._window, 1, activation, report)
            t += constants["window"][:, None, None] * window
        if fields["residual"]:
            t += constants["residual"][:, None, None] * activation[self.residuals]
        if fields["reduce"]:
            t = t.sum(axis=2, keepdims=True)
        t += constants["bias"][:, None, None]
        wrapped = _wrap_signed(t, config.bias_bits)
        if ((wrapped != t) & (self.used if not fields["reduce"] else True)).any():
            report.add("bias_bits")
        if self.wide:
            return wrapped.ravel().astype(np.uint32)
        y = wrapped >> SHIFTS[fields["shift"]]
        if fields["out_bits"] != LOW_BITS:
            y = y.clip(0, (1 << fields["out_bits"]) - 1)
        y &= (1 << config.act_bits) - 1
        if fields["reduce"]:
            y = np.concatenate([y, np.zeros((*y.shape[:2], config.lanes - 1), y.dtype)], axis=2)
        return y.astype(np.uint8).ravel()

    def _add_up(self, total: _Sums, passes: int, activation: Array, report: set[str]) -> Array:
        """Drain accumulators of a bank in all passes: int64 [passes, vectors, lanes]."""
        config = self.config
        shape = (passes, len(self._vectors), config.lanes)
        sums = np.zeros(shape, np.int64)
        for drain in total.drains:
            lanes = self._lanes(activation, drain)
            lanes = np.concatenate([lanes, np.zeros((*lanes.shape[:2], 1), np.int64)], axis=2)
            aligned = lanes[:, :, drain.lanes]
            value = aligned & ((1 << config.acc_bits) - 1)
            if ((value != aligned) & self.used).any():
                report.add("acc_bits")
            if drain.negate:
                value = -value
            if drain.op == DrainOp.SET:
                value = np.broadcast_to(value, shape)
            elif drain.op == DrainOp.ADD:
                value = sums + value
            elif drain.op == DrainOp.NIBBLE:
                value = 16 * sums + value
            else:
                if (((value | sums) >> config.act_bits) * self.used).any():
                    raise MachineError("MAX compares more than activations")
                value = np.maximum(sums, value)
            sums = _wrap_signed(value, config.sum_bits)
            if ((sums != value) & self.used).any():
                report.add("sum_bits")
        return sums

    def _lanes(self, activation: Array, drain: _Drain) -> Array:
        """Lane accumulators at a drain, before they wrap: int64 [passes or 1, vectors, lanes]."""
        matrix = drain.matrix
        inputs = activation[drain.addresses].astype(matrix.dtype)
        if inputs.ndim == 4:
            rows = np.broadcast_to(matrix, (len(inputs), matrix.shape[1]))
            result = np.einsum("fn,fvnl->fvl", rows, inputs)
        else:
            result = _product(matrix, inputs).swapaxes(0, 1)
        return result.astype(np.int64)
