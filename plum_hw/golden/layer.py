"""One layer of all clusters: what each computes from its memory, and who receives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_hw.compiler.cycles import LayerCycles, layer_cycles
from plum_hw.compiler.decode import LayerCode
from plum_hw.config import ArrayConfig

from .faults import MachineError
from .kernel import Kernel

Array = NDArray[Any]


@dataclass(frozen=True)
class _Delivery:
    """What one cluster receives, sender after sender.

    *Members*: ``target``, flat index into its activation memory; ``source``, into the outputs of
    all clusters one after the other, and a zero; ``sender``; ``order`` of the sender's filter and
    vector.
    """

    target: Array
    source: Array
    sender: Array
    order: Array


class Layer:
    """A decoded layer of all clusters, ready to run.

    *Members*: ``kernels``, of each cluster; ``cycles``, as the gateware would count them.

    Raises `MachineError` if a cluster reads what it is sent during the layer, or if a kernel is
    none. A residual may give way to the output of the same filter and vector, or to a later one.
    """

    def __init__(self, config: ArrayConfig, codes: Sequence[LayerCode]) -> None:
        self.config = config
        self.kernels = [Kernel(config, code) for code in codes]
        self.cycles: LayerCycles = layer_cycles(config, codes)
        sizes = [0 if kernel.wide else kernel.size for kernel in self.kernels]
        self._first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._deliveries = [self._received(number) for number in range(len(codes))]
        self._disputed = [self._disputes(delivery) for delivery in self._deliveries]
        for number, delivery in enumerate(self._deliveries):
            self._check_hazards(number, delivery)
        results = np.concatenate([kernel.results for kernel in self.kernels])
        if results.max(initial=0) >= config.result_depth:
            raise MachineError(
                f"result {results.max()} is written; the memory has {config.result_depth}"
            )

    # ---- preparation -----------------------------------------------------------------------------

    def _received(self, number: int) -> _Delivery:
        """What cluster ``number`` receives."""
        group = self.kernels[number].code.fields["group"]
        parts = []
        for sender, kernel in enumerate(self.kernels):
            writes = kernel.writes
            beyond = writes.dest[writes.grouped == 0].max(initial=0)
            if beyond >= len(self.kernels):
                raise MachineError(f"an entry writes cluster {beyond} of {len(self.kernels)}")
            mine = writes.dest == np.where(writes.grouped, group, number)
            source = writes.source[mine]
            zero = source == kernel.size
            parts.append(
                (
                    writes.target[mine],
                    np.where(zero, self._first[-1], source + self._first[sender]),
                    np.full(len(source), sender),
                    writes.order[mine],
                )
            )
        return _Delivery(*[np.concatenate(arrays) for arrays in zip(*parts, strict=True)])

    def _disputes(self, delivery: _Delivery) -> tuple[Array, Array]:
        """Sources of the bytes that two clusters write to the same place."""
        none = np.zeros(0, np.int64)
        lanes = np.zeros((1 << self.config.act_addr_bits) * self.config.lanes, np.int64)
        for sender in np.unique(delivery.sender):
            lanes[np.unique(delivery.target[delivery.sender == sender])] += 1
        if lanes.max(initial=0) < 2:
            return none, none
        shared = np.flatnonzero(lanes[delivery.target] > 1)
        shared = shared[np.argsort(delivery.target[shared], kind="stable")]
        first, second = shared[:-1], shared[1:]
        same = delivery.target[first] == delivery.target[second]
        same &= delivery.sender[first] != delivery.sender[second]
        return delivery.source[first[same]], delivery.source[second[same]]

    def _check_hazards(self, number: int, delivery: _Delivery) -> None:
        """Nothing that a cluster still reads is written, by whomever."""
        kernel, lanes = self.kernels[number], self.config.lanes
        vectors = delivery.target // lanes
        if kernel.reads[vectors].any():
            raise MachineError(f"cluster {number} reads activations that the layer has written")
        if not kernel.residuals.size:
            return
        # Filter by filter, vector by vector, a residual is read before the output is written; lanes
        # that no pixel takes may hold anything.
        filters, count = kernel.residuals.shape
        read = np.full((1 << self.config.act_addr_bits, lanes), -1)
        for vector in range(count):
            used = np.flatnonzero(kernel.used[vector])
            order = vector * filters + np.arange(filters)
            np.maximum.at(read, (kernel.residuals[:, vector, None], used), order[:, None])
        allowed = np.where(delivery.sender == number, delivery.order, -1)
        if (allowed < read.ravel()[delivery.target]).any():
            raise MachineError(f"cluster {number} reads a residual that the layer has written")

    # ---- execution -------------------------------------------------------------------------------

    def run(self, activation: Array, results: Array, report: set[str]) -> int:
        """Run the layer: every cluster computes, then all receive.

        activation : uint8 [clusters, vectors, lanes]; results : uint32 [result_depth]; report :
        gets the names of registers that overflow

        Returns the number of results that were written. Raises `MachineError` if clusters write
        different values to the same place.
        """
        flat = np.zeros(self._first[-1] + 1, np.uint8)
        count = 0
        for number, kernel in enumerate(self.kernels):
            outputs = kernel.run(activation[number], report)
            if kernel.wide:
                results[kernel.results] = outputs
                count += kernel.size
            else:
                flat[self._first[number] : self._first[number + 1]] = outputs
        for number, (first, second) in enumerate(self._disputed):
            if (flat[first] != flat[second]).any():
                raise MachineError(f"two clusters write different values to cluster {number}")
        for number, delivery in enumerate(self._deliveries):
            activation[number].reshape(-1)[delivery.target] = flat[delivery.source]
        return count
