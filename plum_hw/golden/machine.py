"""Golden machine: executes a compiled program exactly as the gateware will, from the same words.

Registers have the gateware's widths and wrap as they do; cycles are those of the cycle model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_host.bundle import Bundle
from plum_hw.compiler.decode import decode_layer
from plum_hw.compiler.layout import TensorLayout
from plum_hw.config import ArrayConfig
from plum_hw.layouts import (
    LAYER_COUNTERS,
    READ_ONLY_SPACES,
    SPACE_BYTES,
    WORD_BITS,
    Counter,
    Space,
    layer_layout,
)

from .kernel import Kernel, MachineError

__all__ = ["AddressError", "Machine", "MachineError"]


class AddressError(ValueError):
    """An access outside a memory, of part of a word, or to a memory that is read only."""


class Machine:
    """One cluster with its memories.

    *Parameters*: ``config``.

    *Members*: ``program``, ``table``, ``weight``, ``results``, ``counters``, uint32;
    ``activation``, uint8 [vectors, lanes]; ``result_count`` of the last run; ``overflows``, what
    overflowed in the last run, as (layer number, register's knob): nothing in a compiled program.

    Program, table and weight memory are changed by `write` only: decoded layers are kept.
    """

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        # An address register may reach beyond a depth that is no power of two.
        self.program = np.zeros(1 << config.program_addr_bits, np.uint32)
        self.table = np.zeros(1 << config.table_addr_bits, np.uint32)
        self.weight = np.zeros(1 << config.weight_addr_bits, np.uint32)
        self.activation = np.zeros((1 << config.act_addr_bits, config.lanes), np.uint8)
        self.results = np.zeros(config.result_depth, np.uint32)
        self.counters = np.zeros(LAYER_COUNTERS + config.layer_counters, np.uint32)
        self.result_count = 0
        self.overflows: set[tuple[int, str]] = set()
        self._kernels: dict[int, Kernel] = {}

    def _memory(self, space: Space) -> tuple[NDArray[Any], int]:
        """Words of a space, one row each, and how many there are."""
        config = self.config
        if space == Space.ACTIVATION:
            words = self.activation.reshape(-1, config.group_lanes)
            return words, config.act_depth * config.groups
        memory, depth = {
            Space.PROGRAM: (self.program, config.program_depth),
            Space.TABLE: (self.table, config.table_depth),
            Space.WEIGHT: (self.weight, config.weight_depth),
            Space.RESULT: (self.results, config.result_depth),
            Space.COUNTER: (self.counters, len(self.counters)),
        }[space]
        return memory.view(np.uint8).reshape(-1, WORD_BITS // 8), depth

    def _range(self, space: int, address: int, count: int) -> NDArray[Any]:
        try:
            memory, depth = self._memory(Space(space))
        except ValueError:
            raise AddressError(f"space is {space}; it must be 0 to {max(Space)}") from None
        if address < 0 or count < 0 or address + count > depth:
            raise AddressError(
                f"words {address} to {address + count - 1} of {Space(space).name}; it has {depth}"
            )
        return memory[address : address + count]

    def read(self, space: int, address: int, count: int) -> bytes:
        """Bytes of ``count`` words, as the link carries them. Raises `AddressError`."""
        return self._range(space, address, count).tobytes()

    def write(self, space: int, address: int, data: bytes | NDArray[Any]) -> None:
        """Write whole words. Raises `AddressError`, and then has written nothing."""
        content = np.frombuffer(data.tobytes() if isinstance(data, np.ndarray) else data, np.uint8)
        size = SPACE_BYTES[Space(space)] if space in set(Space) else 1
        if space in READ_ONLY_SPACES:
            raise AddressError(f"{Space(space).name} is read only")
        if len(content) % size:
            raise AddressError(f"{len(content)} bytes; words of {Space(space).name} have {size}")
        target = self._range(space, address, len(content) // size)
        target[:] = content.reshape(-1, size)
        if space == Space.ACTIVATION:
            target &= (1 << self.config.act_bits) - 1
            return
        if space == Space.WEIGHT:
            self.weight &= np.uint32((1 << self.config.mask_bits) - 1)
        self._kernels.clear()

    def load(self, bundle: Bundle) -> None:
        """Write a bundle's program, table and weights."""
        for space, words in (
            (Space.PROGRAM, bundle.program),
            (Space.TABLE, bundle.table),
            (Space.WEIGHT, bundle.weight),
        ):
            self.write(space, 0, words[0])

    def kernel(self, address: int) -> Kernel:
        """The layer whose descriptor begins at an address of program memory, decoded once.

        Raises `MachineError` if it is none that a compiler makes.
        """
        if address not in self._kernels:
            try:
                code = decode_layer(self.config, self.program, self.table, self.weight, address)
                self._kernels[address] = Kernel(self.config, code)
            except ValueError as error:
                raise MachineError(str(error)) from None
        return self._kernels[address]

    def run(self, program: int, layers: int) -> None:
        """Run ``layers`` layers from a program address on; sets results and counters.

        Fewer layers than the program has leave their outputs to be looked at.
        """
        self.counters[:] = 0
        self.result_count = 0
        self.overflows = set()
        step = layer_layout(self.config).words
        for index in range(layers):
            kernel = self.kernel((program + index * step) % len(self.program))
            report: set[str] = set()
            results = kernel.run(self.activation, report)
            self.overflows |= {(index, knob) for knob in report}
            if results is not None:
                # What does not fit is lost.
                results = results[: len(self.results) - self.result_count]
                self.results[self.result_count :][: len(results)] = results
                self.result_count += len(results)
            self._count(index, kernel)

    def _count(self, index: int, kernel: Kernel) -> None:
        cycles = kernel.cycles
        for counter, value in (
            (Counter.CYCLES, cycles.cycles),
            (Counter.BEATS, cycles.beats),
            (Counter.DRAIN_STALLS, cycles.drain_stalls),
            (Counter.EMIT_STALLS, cycles.emit_stalls),
        ):
            self.counters[counter] += np.uint32(value)
        if index < self.config.layer_counters:
            self.counters[LAYER_COUNTERS + index] = cycles.cycles

    def run_image(
        self, bundle: Bundle, image: NDArray[np.uint8], layers: int | None = None
    ) -> None:
        """Write an image, uint8 (C, H, W), and run a loaded bundle (or its first layers)."""
        self.write(Space.ACTIVATION, bundle.manifest["input"]["address"], bundle.pack_image(image))
        count = len(bundle.manifest["layers"]) if layers is None else layers
        self.run(bundle.manifest["program_address"], count)

    def tensor(self, bundle: Bundle, layer: str) -> NDArray[Any]:
        """Output of a layer, right after the run that ended with it: uint8 (C, H, W), or int32 [K]
        for logits. Later layers may have overwritten it.
        """
        entry = next(item for item in bundle.manifest["layers"] if item["name"] == layer)
        if entry["layout"] is None:
            return self.results[: self.result_count].view(np.int32).copy()
        return read_tensor(self.activation, TensorLayout(**entry["layout"]))


def read_tensor(activation: NDArray[np.uint8], layout: TensorLayout) -> NDArray[np.uint8]:
    """A tensor (C, H, W) from activation memory [vectors, lanes]."""
    memory = activation[layout.base : layout.base + layout.vectors]
    pixels = layout.pixel_map(memory.shape[1])
    result = np.zeros(layout.channels * layout.height * layout.width, np.uint8)
    result[pixels[pixels >= 0]] = memory[pixels >= 0]
    return result.reshape(layout.channels, layout.height, layout.width)
