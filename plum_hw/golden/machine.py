"""Golden machine: executes a compiled program exactly as the gateware will, from the same words.

Registers have the gateware's widths and wrap as they do; cycles are those of the cycle model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import plum_host.steps
from plum_host.bundle import Bundle
from plum_host.steps import Turn, Write, host_memory
from plum_hw.compiler.decode import decode_layer
from plum_hw.compiler.layout import TensorLayout
from plum_hw.config import ArrayConfig
from plum_hw.layouts import (
    BROADCAST,
    LAYER_COUNTERS,
    READ_ONLY_SPACES,
    SPACE_BYTES,
    WORD_BITS,
    Counter,
    Space,
    layer_layout,
)

from .faults import MachineError
from .layer import Layer

__all__ = ["AddressError", "Machine", "MachineError"]

#: Decoded programs that are kept, for networks that are loaded part by part.
_KEPT_PROGRAMS = 32


class AddressError(ValueError):
    """An access outside a memory, of part of a word, or to a memory that is read only."""


class Machine:
    """A device: all clusters with their memories.

    *Parameters*: ``config``.

    *Members*: ``code``, ``table``, uint32 [clusters, words]; ``activation``, uint8 [clusters,
    vectors, lanes]; of the device ``results``, ``counters``, uint32; ``result_count`` of the last
    run; ``overflows``, what overflowed in the last run or image, as (layer number, register's
    knob): nothing in a compiled program.

    Code and table memory are changed by `write` only: decoded layers are kept.
    """

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        # An address register may reach beyond a depth that is no power of two.
        self.code = np.zeros((config.clusters, 1 << config.code_addr_bits), np.uint32)
        self.table = np.zeros((config.clusters, 1 << config.table_addr_bits), np.uint32)
        self.activation = np.zeros(
            (config.clusters, 1 << config.act_addr_bits, config.lanes), np.uint8
        )
        self.results = np.zeros(config.result_depth, np.uint32)
        self.counters = np.zeros(LAYER_COUNTERS + config.layer_counters, np.uint32)
        self.result_count = 0
        self.overflows: set[tuple[int, str]] = set()
        self._programs: dict[bytes, dict[int, Layer]] = {}
        self._layers: dict[int, Layer] | None = None  # of the present memories

    # ---- memories --------------------------------------------------------------------------------

    def _memory(self, space: Space, cluster: int) -> tuple[NDArray[Any], int]:
        """Words of a space, one row each, and how many there are."""
        config = self.config
        if not 0 <= cluster < config.clusters:
            raise AddressError(f"cluster is {cluster}; it must be 0 to {config.clusters - 1}")
        if space == Space.ACTIVATION:
            words = self.activation[cluster].reshape(-1, config.group_lanes)
            return words, config.act_depth * config.groups
        memory, depth = {
            Space.CODE: (self.code[cluster], config.code_depth),
            Space.TABLE: (self.table[cluster], config.table_depth),
            Space.RESULT: (self.results, config.result_depth),
            Space.COUNTER: (self.counters, len(self.counters)),
        }[space]
        return memory.view(np.uint8).reshape(-1, WORD_BITS // 8), depth

    def _range(self, space: int, cluster: int, address: int, count: int) -> NDArray[Any]:
        if space not in set(Space) or space == Space.IDENTITY:
            raise AddressError(f"space is {space}; it must be 0 to {Space.COUNTER}")
        memory, depth = self._memory(Space(space), cluster)
        if address < 0 or count < 0 or address + count > depth:
            raise AddressError(
                f"words {address} to {address + count - 1} of {Space(space).name}; it has {depth}"
            )
        return memory[address : address + count]

    def read(self, space: int, address: int, count: int, cluster: int = 0) -> bytes:
        """Bytes of ``count`` words, as the link carries them. Raises `AddressError`."""
        return self._range(space, cluster, address, count).tobytes()

    def write(
        self, space: int, address: int, data: bytes | NDArray[Any], cluster: int | None = None
    ) -> None:
        """Write whole words, to all clusters unless one is given. Raises `AddressError`, and then
        has written nothing.
        """
        content = np.frombuffer(data.tobytes() if isinstance(data, np.ndarray) else data, np.uint8)
        size = SPACE_BYTES[Space(space)] if space in set(Space) else 1
        if space in READ_ONLY_SPACES:
            raise AddressError(f"{Space(space).name} is read only")
        if len(content) % size:
            raise AddressError(f"{len(content)} bytes; words of {Space(space).name} have {size}")
        for number in range(self.config.clusters) if cluster is None else [cluster]:
            target = self._range(space, number, address, len(content) // size)
            target[:] = content.reshape(-1, size)
            if space == Space.ACTIVATION:
                target &= (1 << self.config.act_bits) - 1
        if space != Space.ACTIVATION:
            self._layers = None

    def load(self, bundle: Bundle, part: int = 0) -> None:
        """Write code and tables of a part of a bundle."""
        for cluster in range(self.config.clusters):
            self.write(Space.CODE, 0, bundle.code[part][cluster], cluster)
            self.write(Space.TABLE, 0, bundle.table[part][cluster], cluster)

    # ---- programs --------------------------------------------------------------------------------

    def layer(self, address: int) -> Layer:
        """The layer whose descriptors begin at an address of code memory, decoded once.

        Raises `MachineError` if it is none that a compiler makes.
        """
        if self._layers is None:
            digest = hashlib.sha256(self.code.tobytes())
            digest.update(self.table.tobytes())
            self._layers = self._programs.pop(digest.digest(), {})
            self._programs[digest.digest()] = self._layers
            if len(self._programs) > _KEPT_PROGRAMS:
                del self._programs[next(iter(self._programs))]
        if address not in self._layers:
            try:
                codes = [
                    decode_layer(self.config, self.code[cluster], self.table[cluster], address)
                    for cluster in range(self.config.clusters)
                ]
            except ValueError as error:
                raise MachineError(str(error)) from None
            self._layers[address] = Layer(self.config, codes)
        return self._layers[address]

    def run(self, program: int, layers: int, results_at: int = 0) -> None:
        """Run ``layers`` layers from a code address on; sets results and counters.

        *Parameters*: ``results_at``, word of the first result. Fewer layers than the program has
        leave their outputs to be looked at.
        """
        base = results_at % self._result_places
        # A result beyond the memory is lost.
        results = np.concatenate([self.results[base:], np.zeros(base, np.uint32)])
        self.counters[:] = 0
        self.result_count = 0
        self.overflows = set()
        step = layer_layout(self.config).words
        for index in range(layers):
            layer = self.layer((program + index * step) % self.code.shape[1])
            report: set[str] = set()
            self.result_count += layer.run(self.activation, results, report)
            self.overflows |= {(index, knob) for knob in report}
            self._count(index, layer)
        self.results[base:] = results[: len(self.results) - base]

    def keep_cycles(self, results_at: int) -> None:
        """Store the cycles of the last run in the word before its results."""
        place = (results_at - 1) % self._result_places
        if place < len(self.results):
            self.results[place] = self.counters[Counter.CYCLES]

    @property
    def _result_places(self) -> int:
        """Words that the address of the result memory reaches."""
        return 1 << (self.config.result_depth - 1).bit_length()

    def _count(self, index: int, layer: Layer) -> None:
        cycles = layer.cycles
        for counter, value in (
            (Counter.CYCLES, cycles.cycles),
            (Counter.BEATS, cycles.beats),
            (Counter.DRAIN_STALLS, cycles.drain_stalls),
            (Counter.EMIT_STALLS, cycles.emit_stalls),
        ):
            if counter == Counter.CYCLES or self.config.layer_counters:
                self.counters[counter] += np.uint32(value)
        if index < self.config.layer_counters:
            self.counters[LAYER_COUNTERS + index] = cycles.cycles

    # ---- bundles ---------------------------------------------------------------------------------

    def write_image(self, bundle: Bundle, image: NDArray[np.uint8]) -> None:
        """Write what the first step needs of an image, uint8 (C, H, W)."""
        self._take(next(plum_host.steps.turns(bundle, image)).writes)

    def _take(self, writes: Sequence[Write]) -> None:
        for write in writes:
            cluster = None if write.cluster == BROADCAST else write.cluster
            self.write(Space.ACTIVATION, write.address, write.data, cluster)

    def run_image(self, bundle: Bundle, image: NDArray[np.uint8], layers: int | None = None) -> int:
        """Run a bundle, or as many layers of its first steps, for an image, uint8 (C, H, W).

        A bundle of one part must have been loaded; the parts of others are loaded here. Returns the
        cycles of all steps; counters are those of the last.
        """
        cycles, done = 0, 0
        overflows: set[tuple[int, str]] = set()
        for turn in self.turns(bundle, image):
            left = bundle.parts[turn.part] if layers is None else layers - done
            if done and left <= 0:
                break
            count = min(bundle.parts[turn.part], left)
            self.run(0, count)
            overflows |= {(done + index, knob) for index, knob in self.overflows}
            cycles += int(self.counters[Counter.CYCLES])
            done += count
        self.overflows = overflows
        return cycles

    def outputs(self, bundle: Bundle, images: NDArray[np.uint8]) -> NDArray[Any]:
        """What a bundle makes of images, uint8 [N, C, H, W]; see `run_image`."""
        results = []
        for image in images:
            steps = self.turns(bundle, image)
            try:
                while True:
                    self.run(0, bundle.parts[next(steps).part])
            except StopIteration as end:
                results.append(end.value)
        return np.stack(results)

    def step_image(self, bundle: Bundle, image: NDArray[np.uint8]) -> Iterator[int]:
        """Like `run_image`, but pauses after every layer and gives its number in the bundle."""
        step = layer_layout(self.config).words
        for turn in self.turns(bundle, image):
            for index in range(bundle.parts[turn.part]):
                self.run(index * step, 1)
                yield sum(bundle.parts[: turn.part]) + index

    def held(self, bundle: Bundle, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Outputs of the layers that host memory holds after a run of an image, by their names."""
        memory = host_memory(bundle)
        for turn in self.turns(bundle, image, memory):
            self.run(0, bundle.parts[turn.part])
        return {name: place.of(memory) for name, place in bundle.held_places.items()}

    def turns(
        self, bundle: Bundle, image: NDArray[np.uint8], memory: NDArray[np.uint8] | None = None
    ) -> Generator[Turn, None, NDArray[Any]]:
        """The turns of an image, each ready to be run; returns the output."""
        steps = plum_host.steps.turns(bundle, image, memory)
        turn = next(steps)
        while True:
            self._take(turn.writes)
            if len(bundle.parts) > 1:
                self.load(bundle, turn.part)
            yield turn
            answers = [
                self.read(read.space, read.address, read.words, read.cluster) for read in turn.reads
            ]
            try:
                turn = steps.send(answers)
            except StopIteration as end:
                output: NDArray[Any] = end.value
                return output

    def tensor(self, bundle: Bundle, layer: str) -> NDArray[Any]:
        """Output of a layer, right after the run that ended with it: uint8 (C, H, W), or int32 [K]
        for logits. Later layers may have overwritten it.

        Raises `MachineError` if clusters that hold the same values do not.
        """
        entry = next(item for item in bundle.manifest["layers"] if item["name"] == layer)
        if entry["layout"] is None:
            return self.results[: bundle.manifest["output"]["shape"][0]].view(np.int32).copy()
        layouts = [TensorLayout(**layout) for layout in entry["layout"]]
        try:
            return read_tensor(self.activation, layouts)
        except MachineError as error:
            raise MachineError(f"layer {layer}: {error}") from None


def read_tensor(
    activation: NDArray[np.uint8], layouts: Sequence[TensorLayout]
) -> NDArray[np.uint8]:
    """A tensor (C, H, W) from activation memories [clusters, vectors, lanes].

    layouts : of copies that hold it together

    Raises `MachineError` if a pixel is stored with different values.
    """
    held: list[tuple[int, NDArray[Any], NDArray[Any]]] = []  # cluster, pixels, their values
    for layout in layouts:
        vectors = slice(layout.base, layout.base + layout.vectors)
        for part in range(layout.parts):
            for cluster in range(part * layout.copies, (part + 1) * layout.copies):
                pixels = layout.pixel_map(activation.shape[2], part, layout.share(cluster))
                inside = pixels >= 0
                held.append((cluster, pixels[inside], activation[cluster, vectors][inside]))
    shape = (layouts[0].channels, layouts[0].height, layouts[0].width)
    result = np.zeros(shape, np.uint8)
    for _, pixels, values in held:
        result.reshape(-1)[pixels] = values
    for cluster, pixels, values in held:
        wrong = np.flatnonzero(values != result.reshape(-1)[pixels])
        if len(wrong):
            place = np.unravel_index(int(pixels[wrong[0]]), shape)
            channel, row, column = (int(number) for number in place)
            raise MachineError(
                f"cluster {cluster} holds {values[wrong[0]]} for channel {channel}, row {row}, "
                f"column {column}; another place holds {result[place]}"
            )
    return result
