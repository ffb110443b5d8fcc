"""The steps that a device runs: pairs of filters where they save cycles, parts where the memories
are too small for everything at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plum_hw.config import ArrayConfig
from plum_hw.layouts import layer_layout

from .assemble import Image, Step, assemble, scratch
from .cycles import LayerCycles, layer_cycles
from .decode import LayerCode, decode_layer
from .plan import LayerPlan
from .problems import Problem

Words = NDArray[np.uint32]


@dataclass(frozen=True)
class Timed:
    """A step with its cost. *Members*: ``step``; ``cycles``; ``code`` and ``table``, words that it
    needs in each cluster by itself, int64 [clusters].
    """

    step: Step
    cycles: LayerCycles
    code: NDArray[np.int64]
    table: NDArray[np.int64]

    def fits(self, config: ArrayConfig) -> bool:
        """Whether the array's memories are large enough for it."""
        return bool(self.code.max() <= config.code_depth and self.table.max() <= config.table_depth)


def decode_image(config: ArrayConfig, image: Image, steps: int) -> list[list[LayerCode]]:
    """The layers of a part as each cluster's gateware reads them: [steps][clusters]."""
    words = layer_layout(config).words
    memories = [
        (_whole(code, config.code_addr_bits), _whole(table, config.table_addr_bits))
        for code, table in zip(image.code, image.table, strict=True)
    ]
    return [
        [decode_layer(config, code, table, index * words) for code, table in memories]
        for index in range(steps)
    ]


def _whole(words: Words, bits: int) -> Words:
    memory = np.zeros(1 << bits, np.uint32)
    memory[: len(words)] = words
    return memory


def _timed(config: ArrayConfig, step: Step) -> Timed:
    large = scratch(config)
    image = assemble(large, [step])
    (codes,) = decode_image(large, image, 1)
    return Timed(
        step,
        layer_cycles(large, codes),
        np.array([len(words) for words in image.code]),
        np.array([len(words) for words in image.table]),
    )


def schedule(
    config: ArrayConfig, plans: Sequence[LayerPlan], group: int | None
) -> tuple[list[list[Step]], list[Problem]]:
    """Steps of each part.

    group : 1, every filter by itself; 2, pairs wherever they are possible; None, pairs where they
        take fewer cycles, and only as many as leave a network in one part that fits in one
    """
    single = [_timed(config, Step(plan=plan, masks=plan.single)) for plan in plans]
    if group == 1:
        return _parts(config, single)
    pairs = {
        index: _timed(config, Step(plan=plan, masks=plan.paired))
        for index, plan in enumerate(plans)
        if plan.can_pair
    }
    if group == 2:
        return _parts(config, [pairs.get(index, each) for index, each in enumerate(single)])
    gains = {
        index: single[index].cycles.cycles - each.cycles.cycles for index, each in pairs.items()
    }
    chosen = list(single)
    resident = len(_parts(config, single)[0]) == 1
    for index in sorted(gains, key=lambda each: -gains[each]):
        if gains[index] <= 0:
            break
        trial = [*chosen[:index], pairs[index], *chosen[index + 1 :]]
        if not resident or len(_parts(config, trial)[0]) == 1:
            chosen = trial
    return _parts(config, chosen)


def _parts(config: ArrayConfig, steps: Sequence[Timed]) -> tuple[list[list[Step]], list[Problem]]:
    """As few parts as consecutive steps allow; a step that is too large is cut into several."""
    parts: list[list[Step]] = []
    problems: list[Problem] = []
    code, table = np.zeros(config.clusters, np.int64), np.zeros(config.clusters, np.int64)
    for timed in steps:
        pieces = list(_pieces(config, timed))
        if not pieces:
            problems.append(_too_large(config, timed))
        for piece in pieces:
            if (
                not parts
                or (code + piece.code).max() > config.code_depth
                or (table + piece.table).max() > config.table_depth
            ):
                parts.append([])
                code, table = np.zeros_like(code), np.zeros_like(table)
            parts[-1].append(piece.step)
            code, table = code + piece.code, table + piece.table
    return parts, problems


def _pieces(config: ArrayConfig, timed: Timed) -> Iterator[Timed]:
    """The step, or what it must be cut into to fit; nothing if single filters do not fit."""
    if timed.fits(config):
        yield timed
        return
    most = max(len(masks.filters) for masks in timed.step.masks)
    needed = max(
        timed.code.max() / config.code_depth, timed.table.max() / max(config.table_depth, 1)
    )
    count = int(needed) + 1
    while count <= most:
        pieces = [_timed(config, step) for step in timed.step.cut(count)]
        if all(piece.fits(config) for piece in pieces):
            yield from pieces
            return
        count += max(1, count // 8)


def _too_large(config: ArrayConfig, timed: Timed) -> Problem:
    name = timed.step.plan.layer.name
    # The last step has a filter in every cluster that has any.
    least = _timed(
        config, timed.step.cut(max(len(masks.filters) for masks in timed.step.masks))[-1]
    )
    memory, depth, words = "code", config.code_depth, int(least.code.max())
    if words <= depth:
        memory, depth, words = "table", config.table_depth, int(least.table.max())
    return Problem(
        name,
        f"a single filter needs {words} words of {memory} memory, which has {depth}",
        f"use an array with {memory}_depth {words} or more",
    )
