"""The steps that a device runs: pairs of filters where they save cycles, parts where the memories
are too small for everything at once.
"""

from __future__ import annotations

from collections.abc import Sequence
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


#: Share of a layer's cycles for which its residual moves.
_WORTH = 0.02


@dataclass(frozen=True)
class Timed:
    """A step with its cost. *Members*: ``step``; ``cycles``; ``words`` that it needs in each
    cluster by itself: of code, of them descriptors, of table, int64 [3, clusters].
    """

    step: Step
    cycles: LayerCycles
    words: NDArray[np.int64]

    def fits(self, config: ArrayConfig) -> bool:
        """Whether the array's memories are large enough for it."""
        return _fit(config, self.words)


def _depths(config: ArrayConfig) -> dict[str, int]:
    """Words that a cluster has for code, for descriptors, and for tables: rows of `Timed.words`."""
    return {"code": config.code_depth, "head": config.program_depth, "table": config.table_depth}


def _fit(config: ArrayConfig, words: NDArray[np.int64]) -> bool:
    return bool((words.max(axis=1) <= list(_depths(config).values())).all())


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


def _timed(config: ArrayConfig, step: Step) -> Timed | None:
    """A step by itself; None if no array can hold it."""
    large = scratch(config)
    try:
        image = assemble(large, [step])
    except ValueError:
        return None
    if not image.fits(large):
        return None
    (codes,) = decode_image(large, image, 1)
    return Timed(
        step,
        layer_cycles(large, codes),
        np.array([[len(code) for code in image.code], image.heads, [len(t) for t in image.table]]),
    )


#: A step, or what it must be cut into to fit; empty if not even single passes fit.
_Pieces = tuple[Timed, ...]


def schedule(
    config: ArrayConfig, plans: Sequence[LayerPlan], group: int | None
) -> tuple[list[list[Step]], list[Problem]]:
    """Steps of each part.

    group : 1, every filter by itself; 2, pairs wherever they are possible; None, pairs where they
        take fewer cycles, and only as many as leave a network in one part that fits in one
    """
    single = [_single(config, plan) for plan in plans]
    problems = [
        _too_large(config, plan) for plan, pieces in zip(plans, single, strict=True) if not pieces
    ]
    if problems or group == 1:
        return _parts(config, single), problems
    pairs = {
        index: pieces
        for index, plan in enumerate(plans)
        if plan.can_pair and (pieces := _pieces(config, Step(plan=plan, masks=plan.paired)))
    }
    if group == 2:
        return _parts(config, [pairs.get(index, each) for index, each in enumerate(single)]), []
    gains = {index: _cycles(single[index]) - _cycles(pieces) for index, pieces in pairs.items()}
    chosen = list(single)
    resident = len(_parts(config, single)) == 1
    for index in sorted(gains, key=lambda each: -gains[each]):
        if gains[index] <= 0:
            break
        trial = [*chosen[:index], pairs[index], *chosen[index + 1 :]]
        if not resident or len(_parts(config, trial)) == 1:
            chosen = trial
    return _parts(config, chosen), []


def _single(config: ArrayConfig, plan: LayerPlan) -> _Pieces:
    """Every filter by itself; the residual last where that saves enough."""
    pieces = _pieces(config, Step(plan=plan, masks=plan.single))
    if not (plan.weights.window and plan.residual and pieces):
        return pieces
    late = tuple(masks.residual_last() for masks in plan.single)
    other = _pieces(config, Step(plan=plan, masks=late))
    return other if other and _cycles(other) < (1 - _WORTH) * _cycles(pieces) else pieces


def _cycles(pieces: _Pieces) -> int:
    return sum(piece.cycles.cycles for piece in pieces)


def _parts(config: ArrayConfig, layers: Sequence[_Pieces]) -> list[list[Step]]:
    """As few parts as consecutive steps allow."""
    parts: list[list[Step]] = []
    words = np.zeros((3, config.clusters), np.int64)
    for piece in (piece for pieces in layers for piece in pieces):
        if not parts or not _fit(config, words + piece.words):
            parts.append([])
            words = np.zeros_like(words)
        parts[-1].append(piece.step)
        words = words + piece.words
    return parts


def _passes(step: Step) -> int:
    """Most passes that a cluster has."""
    return max(len(masks.filters) // (2 if masks.pair else 1) for masks in step.masks)


def _pieces(config: ArrayConfig, step: Step) -> _Pieces:
    # The masks alone need as many.
    words = max(masks.words.size for masks in step.masks)
    count = 1 if step.masks[0].shared else max(1, -(-words // config.code_depth))
    most = _passes(step)
    while count <= most:
        pieces = [_timed(config, each) for each in step.cut(count)]
        fitting = tuple(each for each in pieces if each is not None and each.fits(config))
        if len(fitting) == len(pieces):
            return fitting
        if any(piece and piece.words[1].max() > config.program_depth for piece in pieces):
            return ()  # all passes have the same descriptors
        count += max(1, count // 8)
    return ()


def _too_large(config: ArrayConfig, plan: LayerPlan) -> Problem:
    step = Step(plan=plan, masks=plan.single)
    # The last piece has a pass in every cluster that has any.
    least = _timed(config, step.cut(_passes(step))[-1])
    if least is None:
        large = scratch(config)
        return Problem(
            plan.layer.name,
            f"a single filter needs more than {large.code_depth} words of code memory or "
            f"{large.table_depth} of table memory",
            "use an array with more lanes or a smaller image",
            True,
        )
    needs = zip(_depths(config).items(), least.words.max(axis=1).tolist(), strict=True)
    memory, depth, words = next(
        (name, depth, words) for (name, depth), words in needs if words > depth
    )
    if memory == "head":
        return Problem(
            plan.layer.name,
            f"its descriptors need {words} words, and head_depth is {depth}",
            "use an array with more, or with head_depth 0",
        )
    return Problem(
        plan.layer.name,
        f"a single filter needs {words} words of {memory} memory, which has {depth}",
        f"use an array with {memory}_depth {words} or more",
        True,
    )
