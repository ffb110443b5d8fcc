"""Packs layers into the words of the clusters' memories, part by part."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plum_hw.config import ArrayConfig
from plum_hw.layouts import layer_layout

from .plan import LayerPlan
from .problems import Problem
from .segments import Masks

Words = NDArray[np.uint32]

_REMEDIES = {
    "vectors": "use an array with more lanes or a smaller image",
    "segments": "use smaller kernels or fewer weight bits",
    "window_segments": "use smaller kernels or fewer weight bits",
}


class _Memory:
    """Words of one memory as it fills. A block that is there already is not stored again.

    reserved : words at its beginning that `put` fills
    """

    def __init__(self, reserved: int = 0) -> None:
        self._first = 4 * reserved
        self._bytes = bytearray(self._first)

    def place(self, block: Words | list[int]) -> int:
        """Address of a block of words."""
        wanted = np.asarray(block, "<u4").tobytes()
        at = self._bytes.find(wanted, self._first)
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
    def words(self) -> Words:
        """The memory's content, from address 0 on."""
        return np.frombuffer(bytes(self._bytes), "<u4").astype(np.uint32)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A layer as the device runs it: a layer of the network, or some of its filters.

    *Members*: ``plan``; ``masks`` of each filter part; ``number`` of ``count`` steps of the layer.
    """

    plan: LayerPlan
    masks: tuple[Masks, ...]
    number: int = 0
    count: int = 1

    @property
    def name(self) -> str:
        """Of the layer, with the region and a number if it takes several steps; the last step has
        the layer's own name.
        """
        name, geometry = self.plan.layer.name, self.plan.geometry
        if self.last:
            return name
        rows = f".rows-{geometry.first}" if geometry.count < geometry.out_shape[1] else ""
        number = f".{self.number + 1}-of-{self.count}" if self.count > 1 else ""
        return f"{name}{rows}{number}"

    @property
    def last(self) -> bool:
        """Whether the layer's output is complete after it."""
        geometry = self.plan.geometry
        whole = geometry.first + geometry.count == geometry.out_shape[1]
        return (whole or geometry.reduce) and self.number == self.count - 1

    def cut(self, count: int) -> list[Step]:
        """The same in ``count`` steps, each with some of the filters."""
        masks = [each.cut(count) for each in self.masks]
        return [
            Step(plan=self.plan, masks=each, number=number, count=count)
            for number, each in enumerate(zip(*masks, strict=True))
        ]


@dataclass(frozen=True, kw_only=True)
class Image:
    """What the memories of all clusters hold for some steps: words from address 0 on.

    *Members*: ``code``, ``table``; ``heads``, words at the beginning of code that are descriptors.
    """

    code: tuple[Words, ...]
    table: tuple[Words, ...]
    heads: tuple[int, ...]

    def fits(self, config: ArrayConfig) -> bool:
        """Whether the array's memories are large enough."""
        return (
            all(len(words) <= config.code_depth for words in self.code)
            and all(len(words) <= config.table_depth for words in self.table)
            and max(self.heads) <= config.program_depth
        )


def scratch(config: ArrayConfig) -> ArrayConfig:
    """The same array with memories for a layer of any size, to measure it."""
    return dataclasses.replace(config, code_depth=65536, head_depth=0, table_depth=8192)


def assemble(config: ArrayConfig, steps: Sequence[Step]) -> Image:
    """Words of the memories for steps that run one after another.

    Raises ValueError where something lies beyond the end of a memory.
    """
    clusters = [_Cluster(config, number, steps) for number in range(config.clusters)]
    return Image(
        code=tuple(cluster.code.words for cluster in clusters),
        table=tuple(cluster.table.words for cluster in clusters),
        heads=tuple(cluster.heads for cluster in clusters),
    )


def field_problems(config: ArrayConfig, plan: LayerPlan) -> list[Problem]:
    """Fields of a layer's descriptors that are too small."""
    highest = {item.name: item.high for item in layer_layout(config).fields}
    found = []
    for name, values in _counts(plan).items():
        if max(values) > highest[name]:
            text = f"{name} is {max(values)} and a descriptor holds {highest[name]}"
            found.append(Problem(plan.layer.name, text, _REMEDIES[name], name == "vectors"))
    return found


def _counts(plan: LayerPlan) -> dict[str, list[int]]:
    masks = plan.single
    return {
        "vectors": [plan.geometry.tiling.rows],
        "segments": [len(each.segments) for each in masks],
        "window_segments": [len(each.window_segments) for each in masks],
    }


class _Cluster:
    """The memories of one cluster as they fill."""

    def __init__(self, config: ArrayConfig, number: int, steps: Sequence[Step]) -> None:
        self.config = config
        layout = layer_layout(config)
        self.code = _Memory(len(steps) * layout.words)
        self.table = _Memory()
        # Descriptors come before masks, for the array may want them at the beginning.
        segments = [self._segments(step, number) for step in steps]
        self.heads = len(self.code.words)
        for index, (step, address) in enumerate(zip(steps, segments, strict=True)):
            words = layout.pack(**self._descriptor(step, number, address))
            self.code.put(index * layout.words, words)

    @staticmethod
    def _masks(step: Step, number: int) -> Masks | None:
        """Of this cluster's share; None if it has none."""
        part, share = divmod(number, step.plan.geometry.copies)
        masks = step.masks[share] if part < step.plan.geometry.parts else None
        return masks if masks is not None and masks.filters else None

    def _segments(self, step: Step, number: int) -> int:
        """Place the step's segments; their address."""
        masks = self._masks(step, number)
        if masks is None:
            return 0
        both = (*masks.window_segments, *masks.segments)
        return self.code.place([segment.pack(self.config) for segment in both])

    def _descriptor(self, step: Step, number: int, segments: int) -> dict[str, int]:
        """The layer's descriptor, once its blocks are placed; ``segments``: where those are."""
        config, plan, geometry = self.config, step.plan, step.plan.geometry
        layout = layer_layout(config)
        values = {item.name: 0 for item in layout.fields}
        values["group"] = plan.scatter.group(number)
        part = number // geometry.copies
        masks = self._masks(step, number)
        if masks is None:
            return values
        source, residual = plan.source, plan.residual
        wrap = (1 << config.act_addr_bits) - 1
        first = next(channel for channel in masks.filters if channel is not None)
        skip = first if geometry.per_filter else 0
        held = plan.outputs[0].held if plan.outputs else None
        filters = len(masks.filters)
        values |= {
            "vectors": len(plan.scatter.lists[part]),
            "passes": (filters // 2 if masks.pair else filters) + bool(masks.window_segments),
            "segments": len(masks.segments),
            "window_segments": len(masks.window_segments),
            "segment_ptr": segments,
            "weight_ptr": self.code.place(
                np.concatenate([masks.window_words, masks.words.ravel()])
            ),
            "table_ptr": self.table.place(plan.constants.pack(config, masks.filters, held)),
            "scatter_ptr": self.table.place(self._lists(plan, part)),
            "in_base": source.row_address(0 if geometry.reduce else -geometry.padding[0])
            + skip
            - source.share(number) * source.held,
            "in_step": (geometry.row_step * source.held) & wrap,
            "filter_step": geometry.per_filter,
            "out_base": plan.out_base,
            "res_base": residual.row_address(0) + skip if residual else 0,
            "res_step": residual.channels & wrap if residual else 0,
            "shift": plan.constants.shift,
            "out_bits": plan.constants.out_bits,
            "residual": residual is not None,
            "reduce": geometry.reduce,
            "wide": geometry.logits,
            "shared_masks": masks.shared,
            "pair": masks.pair,
            "odd": masks.pair and masks.filters[-2] is None,
            "left_edge": geometry.tiling.left_edge(config),
        }
        return values

    def _lists(self, plan: LayerPlan, part: int) -> list[int]:
        return [
            entry.pack(self.config, last=index == len(entries) - 1)
            for entries in plan.scatter.lists[part]
            for index, entry in enumerate(entries)
        ]
