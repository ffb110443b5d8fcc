"""One layer of a program, prepared for NumPy: products of matrices instead of beats.

A lane accumulator is linear in the activations until it is drained, so the mask words up to each
drain become one matrix of coefficients. Registers wrap as the gateware's do, and where one does,
`Kernel.run` says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_hw.compiler.cycles import LayerCycles, layer_cycles
from plum_hw.compiler.decode import LayerCode
from plum_hw.config import SHIFTS, ArrayConfig
from plum_hw.layouts import DrainOp, Select, Start

Array = NDArray[Any]


#: Multiplications up to which OpenBLAS keeps to one thread.
_BLAS_WORK = 1 << 18


class MachineError(Exception):
    """A program does what no compiled program does: the gateware's result would depend on its
    pipeline, so the machine has none.
    """


@dataclass(frozen=True)
class _Drain:
    """One drain.

    *Members*: ``offsets`` of the activations that the lanes hold, [n]; ``matrix``, how often, float
    [filters or 1, n]; ``lanes``, the lane that each lane takes, or the number of lanes for a zero;
    ``op``; ``negate``.
    """

    offsets: Array
    matrix: Array
    lanes: Array
    op: DrainOp
    negate: bool


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
    """A decoded layer, ready to run.

    *Members*: ``code``; ``cycles``, as the gateware would count them.

    Raises `MachineError` if the layer reads activations that it has written, or adds to what an
    earlier filter left.
    """

    def __init__(self, config: ArrayConfig, code: LayerCode) -> None:
        self.config = config
        self.code = code
        self.cycles: LayerCycles = layer_cycles(config, code)
        self._wrap = (1 << config.act_addr_bits) - 1
        fields = code.fields
        self._vectors = np.arange(1 if fields["reduce"] else fields["vectors"])
        self._filters = np.arange(fields["filters"])
        self._drains = list(self._decode_drains())
        self._reads = [self._addresses(drain) for drain in self._drains]
        channels = np.arange(code.emitted)
        self._residuals = (
            fields["res_base"] + self._vectors * fields["res_step"] + channels[:, None]
        ) & self._wrap
        self._target, self._source = self._decode_entries()
        self._used = self._used_lanes()
        self._check_hazards()

    # ---- preparation -----------------------------------------------------------------------------

    def _decode_drains(self) -> Iterator[_Drain]:
        config, segments = self.config, self.code.segments
        rows = len(self.code.masks)
        bits = np.unpackbits(
            self.code.masks.astype("<u4").view(np.uint8).reshape(rows, -1, 4),
            axis=2,
            bitorder="little",
        )[:, :, : config.mask_bits]
        offsets = np.zeros(0, np.int64)
        matrix = np.zeros((rows, 0), np.int64)
        word = 0
        for index in range(self.code.fields["segments"]):
            start, words = int(segments["start"][index]), int(segments["words"][index])
            if index == 0 and start != Start.CLEAR:
                raise MachineError("the first segment adds to what the last filter left")
            if start == Start.CLEAR:
                offsets, matrix = offsets[:0], matrix[:, :0]
            elif start == Start.DOUBLE:
                matrix = (2 * matrix) & ((1 << config.acc_bits) - 1)
            part = bits[:, word : word + words].reshape(rows, -1)
            used = np.flatnonzero(part.any(axis=0))
            offsets = np.concatenate([offsets, segments["offset"][index] + used])
            matrix = np.concatenate([matrix, part[:, used].astype(np.int64)], axis=1)
            word += words
            if not segments["drain"][index]:
                continue
            merged, inverse = np.unique(offsets & self._wrap, return_inverse=True)
            total = np.zeros((rows, len(merged)), np.int64)
            np.add.at(total.T, inverse, matrix.T)
            offsets, matrix = merged, total
            peak = int(matrix.sum(axis=1).max(initial=0)) << config.act_bits
            yield _Drain(
                offsets,
                matrix.astype(np.float32 if peak < 1 << 24 else np.float64),
                self._aligned(int(segments["shift"][index])),
                DrainOp(int(segments["op"][index])),
                bool(segments["negate"][index]),
            )

    def _aligned(self, shift: int) -> Array:
        """The lane that each lane takes; one beyond the last for a zero."""
        config = self.config
        edges = [(self.code.fields["left_edge"] >> g) & 1 for g in range(config.groups)]
        strip = np.repeat(np.cumsum(edges), config.group_lanes)
        source = np.arange(config.lanes) + shift
        inside = (source >= 0) & (source < config.lanes)
        inside &= strip[source.clip(0, config.lanes - 1)] == strip
        return np.where(inside, source, config.lanes)

    def _decode_entries(self) -> tuple[Array, Array]:
        """All bytes that the layer writes: flat index into activation memory, and into the layer's
        outputs [filters, vectors, lanes] followed by one zero.
        """
        config, code = self.config, self.code
        entries, size = code.entries, config.group_lanes
        if not len(entries["offset"]):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        lane = np.arange(size)
        straight = (entries["select"] == Select.STRAIGHT)[:, None]
        odd = (entries["select"] == Select.ODD)[:, None]
        source = np.where(straight, lane, 2 * lane + odd)
        written = straight | (lane < size // 2)
        target = np.where(straight, lane, size // 2 * entries["upper"][:, None] + lane)
        target += size * entries["target"][:, None]
        if code.fields["reduce"]:
            pixel = source == 0
        else:
            pixel = source < entries["count"][:, None]
            source = source + size * entries["source"][:, None]
        channel = np.arange(code.emitted)[:, None, None]
        vectors = len(self._vectors)
        zero = code.emitted * vectors * config.lanes
        outputs = (channel * vectors + entries["vector"][:, None]) * config.lanes + source
        address = (code.fields["out_base"] + entries["offset"][:, None] + channel) & self._wrap
        written = np.broadcast_to(written, outputs.shape)
        targets = address * config.lanes + target
        return targets[written], np.where(pixel, outputs, zero)[written]

    def _used_lanes(self) -> Array:
        """Lanes whose sums matter, bool [vectors, lanes]: the others add up what lies beside a map,
        and may overflow.
        """
        used = np.zeros((self.code.emitted, len(self._vectors), self.config.lanes), bool)
        if self.code.fields["reduce"]:
            return np.ones(used.shape[1:], bool)
        used.reshape(-1)[self._source[self._source < used.size]] = True
        return np.asarray(used.any(axis=0))

    def _check_hazards(self) -> None:
        config, lanes = self.config, self.config.lanes
        written = np.zeros(1 << config.act_addr_bits, bool)
        written[self._target // lanes] = True
        for addresses in self._reads:
            if written[addresses].any():
                raise MachineError("the layer reads activations that it has written")
        if not self.code.fields["residual"]:
            return
        # Filter by filter, vector by vector, a residual is read before the output is written.
        order = np.arange(self._residuals.size).reshape(self._residuals.shape[::-1]).T
        read = np.full(len(written), -1)
        read[self._residuals] = order
        pixels = self._source < self.code.emitted * len(self._vectors) * lanes
        channel, vector = np.divmod(self._source[pixels] // lanes, len(self._vectors))
        if (order[channel, vector] < read[self._target[pixels] // lanes]).any():
            raise MachineError("the layer reads a residual that it has written")

    def _addresses(self, drain: _Drain) -> Array:
        """Vectors that a drain's lanes have added: [vectors, n], or [filters, vectors, n]."""
        fields = self.code.fields
        window = fields["in_base"] + self._vectors[:, None] * fields["in_step"] + drain.offsets
        if fields["filter_step"]:
            channels = np.maximum(self._filters - fields["window"], 0)
            window = window + channels[:, None, None]
        return window & self._wrap

    # ---- execution -------------------------------------------------------------------------------

    def run(self, activation: Array, report: set[str]) -> Array | None:
        """Run the layer on activation memory, uint8 [depth, lanes]. Returns its 32-bit results,
        or None if it writes activations. Names of registers that overflow go into ``report``.
        """
        fields, constants, config = self.code.fields, self.code.constants, self.config
        sums = self._sums(activation, report)
        window = sums[: fields["window"]]
        sums = sums[fields["window"] :]
        t = constants["scale"][:, None, None] * sums
        if fields["window"]:
            t += constants["window"][:, None, None] * window
        if fields["residual"]:
            t += constants["residual"][:, None, None] * activation[self._residuals]
        if fields["reduce"]:
            t = t.sum(axis=2, keepdims=True)
        t += constants["bias"][:, None, None]
        wrapped = _wrap_signed(t, config.bias_bits)
        if ((wrapped != t) & (self._used if not fields["reduce"] else True)).any():
            report.add("bias_bits")
        if fields["wide"]:
            return wrapped[:, 0, 0].astype(np.uint32)
        y = (wrapped >> SHIFTS[fields["shift"]]).clip(0, (1 << fields["out_bits"]) - 1)
        y &= (1 << config.act_bits) - 1
        if fields["reduce"]:
            y = np.concatenate([y, np.zeros((*y.shape[:2], config.lanes - 1), y.dtype)], axis=2)
        flat = np.append(y.astype(np.uint8).ravel(), np.uint8(0))
        activation.reshape(-1)[self._target] = flat[self._source]
        return None

    def _sums(self, activation: Array, report: set[str]) -> Array:
        """Drain accumulators of all filters: int64 [filters, vectors, lanes]."""
        config = self.config
        shape = (len(self._filters), len(self._vectors), config.lanes)
        sums = np.zeros(shape, np.int64)
        for drain, addresses in zip(self._drains, self._reads, strict=True):
            lanes = self._lanes(activation[addresses], drain.matrix)
            lanes = np.concatenate([lanes, np.zeros((*lanes.shape[:2], 1), np.int64)], axis=2)
            aligned = lanes[:, :, drain.lanes]
            value = aligned & ((1 << config.acc_bits) - 1)
            if ((value != aligned) & self._used).any():
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
                value = np.maximum(sums, value)
            sums = _wrap_signed(value, config.sum_bits)
            if ((sums != value) & self._used).any():
                report.add("sum_bits")
        return sums

    def _lanes(self, inputs: Array, matrix: Array) -> Array:
        """Lane accumulators at a drain, before they wrap: int64 [filters, vectors, lanes].

        inputs : what they add, uint8 [vectors, n, lanes], or with a filter step [filters, ...]
        """
        inputs = inputs.astype(matrix.dtype)
        if self.code.fields["filter_step"]:
            rows = np.broadcast_to(matrix, (len(self._filters), matrix.shape[1]))
            result = np.einsum("fn,fvnl->fvl", rows, inputs)
        else:
            result = _product(matrix, inputs).swapaxes(0, 1)
        return result.astype(np.int64)
