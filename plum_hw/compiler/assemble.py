"""Packs a plan into the words of one cluster's memories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from plum_hw.config import ArrayConfig
from plum_hw.layouts import layer_layout
from plum_hw.timing import emit_gap

from .plan import LayerPlan, Plan
from .problems import Problem

#: Where the layer descriptors begin in program memory.
PROGRAM_ADDRESS = 0

_REMEDIES = {
    "vectors": "use an array with more lanes or a smaller image",
    "filters": "use fewer filters",
    "segments": "use smaller kernels or fewer weight bits",
    "emit_gap": "use fewer readers of different kinds for its output, or smaller kernels",
}


class _Memory:
    """Words of one memory as it fills. A block that is there already is not stored again."""

    def __init__(self, name: str, words: Iterable[int] = ()) -> None:
        self.name = name
        self._bytes = bytearray(np.asarray(list(words), "<u4").tobytes())

    def place(self, block: NDArray[np.uint32] | list[int]) -> int:
        """Address of a block of words."""
        wanted = np.asarray(block, "<u4").tobytes()
        at = self._bytes.find(wanted)
        while at % 4 and at >= 0:
            at = self._bytes.find(wanted, at + 1)
        if at < 0:
            at = len(self._bytes)
            self._bytes += wanted
        return at // 4

    def put(self, address: int, words: list[int]) -> None:
        """Overwrite words that are there."""
        data = np.asarray(words, "<u4").tobytes()
        self._bytes[4 * address : 4 * address + len(data)] = data

    @property
    def words(self) -> NDArray[np.uint32]:
        """The memory's content, from address 0 on."""
        return np.frombuffer(bytes(self._bytes), "<u4").astype(np.uint32)


@dataclass(frozen=True, kw_only=True)
class ClusterImage:
    """What one cluster's memories hold: uint32 words from address 0 on."""

    program: NDArray[np.uint32]
    table: NDArray[np.uint32]
    weight: NDArray[np.uint32]


@dataclass
class _Assembler:
    config: ArrayConfig
    plan: Plan
    program: _Memory = field(init=False)
    table: _Memory = field(default_factory=lambda: _Memory("table"))
    weight: _Memory = field(default_factory=lambda: _Memory("weight"))

    def __post_init__(self) -> None:
        count = len(self.plan.layers) * layer_layout(self.config).words
        self.program = _Memory("program", [0] * (PROGRAM_ADDRESS + count))

    def descriptor(self, layer: LayerPlan) -> dict[str, int]:
        """The layer's descriptor, once its blocks are placed."""
        config, geometry, source = self.config, layer.geometry, layer.source
        wrap = (1 << config.act_addr_bits) - 1
        residual = layer.residual
        segments = [segment.pack(config) for segment in layer.masks.segments]
        return {
            "vectors": geometry.tiling.rows,
            "filters": geometry.out_shape[0] + layer.masks.window,
            "segments": len(segments),
            "segment_ptr": self.program.place(segments),
            "weight_ptr": self.weight.place(layer.masks.words.ravel()),
            "table_ptr": self.table.place(layer.constants.pack(config)),
            "scatter_ptr": self.table.place(self._lists(layer)),
            "in_base": source.row_address(0 if geometry.reduce else -geometry.padding[0]),
            "in_step": (geometry.row_step * source.channels) & wrap,
            "filter_step": geometry.per_filter,
            "out_base": layer.out_base,
            "res_base": residual.row_address(0) if residual else 0,
            "res_step": residual.channels & wrap if residual else 0,
            "emit_gap": emit_gap(
                config,
                entries=max(len(entries) for entries in layer.lists),
                terms=1 + layer.masks.window + (residual is not None),
                reduce=geometry.reduce,
                residual=residual is not None,
            ),
            "shift": layer.constants.shift,
            "out_bits": layer.constants.out_bits,
            "window": layer.masks.window,
            "residual": residual is not None,
            "reduce": geometry.reduce,
            "wide": geometry.logits,
            "shared_masks": layer.masks.shared,
            "left_edge": geometry.tiling.left_edge(config),
        }

    def _lists(self, layer: LayerPlan) -> list[int]:
        return [
            entry.pack(self.config, last=index == len(entries) - 1)
            for entries in layer.lists
            for index, entry in enumerate(entries)
        ]


def assemble(config: ArrayConfig, plan: Plan) -> tuple[ClusterImage | None, list[Problem]]:
    """Words of the memories. The image is None exactly when there are problems: a descriptor's
    field or a memory is too small.
    """
    assembler = _Assembler(config, plan)
    layout = layer_layout(config)
    problems: list[Problem] = []
    # Pointers beyond a memory do not fit their fields, so memories are checked before packing.
    descriptors = [assembler.descriptor(layer) for layer in plan.layers]
    memories = (
        (assembler.program, config.program_depth),
        (assembler.table, config.table_depth),
        (assembler.weight, config.weight_depth),
    )
    for memory, depth in memories:
        if len(memory.words) > depth:
            problems.append(_too_deep(memory.name, len(memory.words), depth))
    for layer, values in zip(plan.layers, descriptors, strict=True):
        for item in layout.fields:
            if item.name in _REMEDIES and values[item.name] > item.high:
                problems.append(
                    Problem(
                        layer.layer.name,
                        f"{item.name} is {values[item.name]} and a descriptor holds {item.high}",
                        _REMEDIES[item.name],
                    )
                )
    if problems:
        return None, problems
    for index, values in enumerate(descriptors):
        assembler.program.put(PROGRAM_ADDRESS + index * layout.words, layout.pack(**values))
    return (
        ClusterImage(
            program=assembler.program.words,
            table=assembler.table.words,
            weight=assembler.weight.words,
        ),
        [],
    )


def _too_deep(name: str, needed: int, depth: int) -> Problem:
    return Problem(
        None,
        f"{name} memory needs {needed} words and has {depth}",
        f"use an array with {name}_depth {needed} or more, or a smaller network",
    )
