"""What is known of each layer before it is packed: split, places, masks, constants, lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from plum_hw.config import ArrayConfig
from plum_hw.ir import Layer, Network, WeightLayer
from plum_hw.layouts import Select
from plum_hw.timing import ENTRY_CYCLES, FIRST_STEP

from .assign import assign_filters, makespan
from .columns import Weights, flipped_filters, layer_weights
from .copies import Copy
from .geometry import Geometry, layer_choices, plain_layout
from .layout import TensorLayout
from .lower import lower
from .pairs import can_pair, choose_pairs, pair_masks
from .problems import Problem, Refusal
from .requant import Constants, layer_constants
from .scatter import Entry, Scatter, scatter_lists
from .segments import Masks, build_masks
from .split import Placement, place_network

#: Cycles of a step besides its work, about.
_STEP_CYCLES = 50


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """One layer, or one region of its rows, placed.

    *Members*: ``config``, the array; ``peak``, the largest value of an input; ``geometry``;
    ``source``, layout that the window reads; ``residual``, layout of the residual or None;
    ``outputs``, layouts of all copies that are written (none of logits); ``weights``; ``masks`` of
    all filters one by one; ``filters``, channels of each filter part; ``constants``; ``scatter``,
    the lists.
    """

    config: ArrayConfig
    geometry: Geometry
    source: TensorLayout
    residual: TensorLayout | None
    outputs: tuple[TensorLayout, ...]
    weights: Weights
    masks: Masks
    filters: tuple[tuple[int, ...], ...]
    constants: Constants
    scatter: Scatter
    peak: int

    @property
    def layer(self) -> Layer:
        """The layer of the network."""
        return self.geometry.layer

    @property
    def out_base(self) -> int:
        """What the offsets of the scatter entries are relative to."""
        return self.outputs[0].base if self.outputs else 0

    @cached_property
    def can_pair(self) -> bool:
        """Whether pairs of filters are of use."""
        if self.geometry.per_filter or (self.residual is not None and self.weights.window):
            # With a window sum the residuals of a pair would share a bank.
            return False
        return can_pair(self.config, self.weights, self.peak)

    @cached_property
    def paired(self) -> tuple[Masks, ...]:
        """Masks of each filter part in pairs."""
        return tuple(
            pair_masks(
                self.config,
                self.weights,
                self.masks,
                choose_pairs(self.weights, filters),
                self.peak,
                residual=self.residual is not None,
            )
            if filters
            else self.masks.only(())
            for filters in self.filters
        )

    @cached_property
    def single(self) -> tuple[Masks, ...]:
        """Masks of each filter part, each filter by itself."""
        return tuple(self.masks.only(filters) for filters in self.filters)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A network, placed. *Members*: ``network`` as the array runs it (see `lower`); ``layers``;
    ``copies`` of each tensor; ``vectors`` of activation memory in use.
    """

    network: Network
    layers: tuple[LayerPlan, ...]
    copies: dict[str, list[Copy]]
    vectors: int


def plan_network(network: Network, config: ArrayConfig) -> tuple[Plan | None, list[Problem]]:
    """Place a network. The plan is None exactly when there are problems."""
    return _Planner(lower(network), config).plan()


class _Planner:
    def __init__(self, network: Network, config: ArrayConfig) -> None:
        self.network = network
        self.config = config
        self.problems: list[Problem] = []
        self._masks: dict[tuple[str, bool], Masks | None] = {}
        self._costs: dict[tuple[Any, ...], int] = {}

    def plan(self) -> tuple[Plan | None, list[Problem]]:
        network, config = self.network, self.config
        self._check_whole()
        choices = [self._choices(layer) for layer in network.layers]
        constants = {layer.name: self._constants(layer) for layer in network.layers}
        for each in choices:
            if each:
                self._estimate(each[0][0])
        placement: Placement | None = None
        if all(choices) and None not in self._masks.values():
            try:
                placement = place_network(config, network, choices, self._cost)
            except Refusal as refusal:
                self.problems.append(refusal.problem)
        if placement is None or self.problems:
            order = {layer.name: index for index, layer in enumerate(network.layers)}
            self.problems.sort(key=lambda problem: order.get(problem.layer or "", -1))
            return None, self.problems
        layers = tuple(
            plan
            for regions in placement.layers
            for plan in self._layer(regions, placement.copies, constants[regions[0].layer.name])
        )
        plan = Plan(
            network=network,
            layers=layers,
            copies=placement.copies,
            vectors=placement.vectors,
        )
        return plan, []

    def _check_whole(self) -> None:
        """What concerns the network as a whole."""
        network, config = self.network, self.config
        results = network.shape_of(network.output)[0]
        if network.gives_logits and results >= config.result_depth:
            self.problems.append(
                Problem(
                    network.output,
                    f"it gives {results} results and the array holds {config.result_depth - 1}",
                    f"use an array with result_depth {results + 1} or more",
                    True,
                )
            )
        for name in (network.input.name, *(layer.name for layer in network.layers)):
            bits = network.bits_of(name)
            if bits > config.act_bits and not (name == network.output and network.gives_logits):
                self.problems.append(
                    Problem(
                        None if name == network.input.name else name,
                        f"values of {name} have {bits} bits and the array stores {config.act_bits}",
                        f"export {config.act_bits} bits or use an array with act_bits {bits}",
                    )
                )

    def _choices(self, layer: Layer) -> list[tuple[Geometry, ...]]:
        try:
            return layer_choices(self.config, self.network, layer)
        except Refusal as refusal:
            self.problems.append(refusal.problem)
            return []

    def _constants(self, layer: Layer) -> Constants | None:
        flipped = flipped_filters(layer, self.network.shape_of(layer.name)[0])
        try:
            return layer_constants(self.config, self.network, layer, flipped)
        except Refusal as refusal:
            self.problems.append(refusal.problem)
            return None

    def _peak(self, layer: Layer) -> int:
        return (1 << self.network.bits_of(layer.source)) - 1

    def _build(self, geometry: Geometry, weights: Weights) -> Masks:
        layer = geometry.layer
        try:
            return build_masks(
                self.config,
                layer.name,
                weights,
                self._peak(layer),
                residual=len(layer.inputs) == 2,
                steps=geometry.per_filter,
            )
        except Refusal as refusal:
            # Logits of fewer channels each can be added up.
            raise (refusal.sized() if geometry.logits else refusal) from None

    def _estimate(self, geometry: Geometry) -> Masks | None:
        """Masks of a layer with some layout of its input: the beats are always as many."""
        key = (geometry.layer.name, geometry.gathered)
        if key not in self._masks:
            source = (
                plain_layout(self.config, geometry.in_shape, geometry.layer.name)
                if geometry.reduce
                else geometry.source_layout()
            )
            try:
                self._masks[key] = self._build(geometry, layer_weights(geometry, source))
            except Refusal as refusal:
                self.problems.append(refusal.problem)
                self._masks[key] = None
        return self._masks[key]

    def _cost(self, regions: Sequence[Geometry], outputs: Sequence[TensorLayout]) -> int:
        """About the cycles of a layer that writes these copies: the beats of its filters, or their
        drains or writes where these take longer.
        """
        name, config = regions[0].layer.name, self.config
        vectors = sum(geometry.parts * geometry.tiling.rows for geometry in regions)
        entries = max(1, round(sum(_entries(config, each) for each in outputs) / vectors))
        key = (
            name,
            tuple((each.parts, each.first, each.count) for each in regions),
            regions[0].gathered,
            entries,
        )
        if key not in self._costs:
            self._costs[key] = sum(
                self._region_cost(geometry, entries) + _STEP_CYCLES for geometry in regions
            )
        return self._costs[key]

    def _region_cost(self, geometry: Geometry, entries: int) -> int:
        config = self.config
        masks = self._estimate(geometry)
        assert masks is not None
        drains = sum(segment.drain for segment in masks.segments) * config.drain_cycles
        terms = len(geometry.layer.inputs) + bool(masks.window_segments)
        steps = ENTRY_CYCLES(config, terms)
        writes = FIRST_STEP + int(entries * max(steps, config.clusters / config.write_buses))
        beats = np.maximum(masks.beats(), max(drains, writes))
        if masks.shared:
            beats = np.repeat(beats, geometry.out_shape[0])
        window = int(np.maximum(np.bitwise_count(masks.window_words), 1).sum())
        work = makespan(beats, geometry.copies, consecutive=geometry.per_filter)
        return geometry.tiling.rows * (work + window)

    def _layer(
        self,
        regions: Sequence[Geometry],
        copies: dict[str, list[Copy]],
        constants: Constants | None,
    ) -> list[LayerPlan]:
        """Put together what was found, once everything was."""
        assert constants is not None
        layer = regions[0].layer
        outputs = tuple(copy.layout for copy in copies[layer.name])
        plans = []
        for geometry, scatter in zip(regions, self._scatter(regions, outputs), strict=True):
            source = self._read(copies, geometry, 0)
            weights = layer_weights(geometry, source)
            masks = self._build(geometry, weights)
            beats = masks.beats()
            if masks.shared:
                beats = np.repeat(beats, weights.filters)
            filters = (
                _shares(source)
                if geometry.local
                else assign_filters(beats, geometry.copies, consecutive=geometry.per_filter)
            )
            plans.append(
                LayerPlan(
                    config=self.config,
                    geometry=geometry,
                    source=source,
                    residual=self._read(copies, geometry, 1) if len(layer.inputs) == 2 else None,
                    outputs=outputs,
                    weights=weights,
                    masks=masks,
                    filters=tuple(tuple(part) for part in filters),
                    constants=constants,
                    scatter=scatter,
                    peak=self._peak(layer),
                )
            )
        return plans

    @staticmethod
    def _read(copies: dict[str, list[Copy]], geometry: Geometry, slot: int) -> TensorLayout:
        """Layout that a region of a layer reads."""
        layer = geometry.layer
        reader = (layer.name, slot, geometry.region)
        return next(copy.layout for copy in copies[layer.inputs[slot]] if reader in copy.readers)

    def _scatter(
        self, regions: Sequence[Geometry], outputs: Sequence[TensorLayout]
    ) -> list[Scatter]:
        geometry = regions[0]
        if geometry.logits:
            return [Scatter((((),),), 0)]
        if geometry.reduce:
            # The sum goes to lane 0 of one group; `lower` sees to it that this is enough.
            assert len(outputs) == 1
            everywhere = self.config.clusters > 1
            entry = Entry(0, 0, 0, Select.STRAIGHT, 1, 0, everywhere)
            return [Scatter((((entry,),),), self.config.clusters if everywhere else 0)]
        terms = len(geometry.layer.inputs) + bool(_window(geometry.layer))
        steps = ENTRY_CYCLES(self.config, terms)
        return scatter_lists(self.config, regions, outputs, outputs[0].base, steps)


def _shares(source: TensorLayout) -> list[list[int]]:
    """Channels that each cluster holds."""
    edges = [min(number * source.held, source.channels) for number in range(source.shares + 1)]
    return [list(range(low, high)) for low, high in pairwise(edges)]


def _entries(config: ArrayConfig, layout: TensorLayout) -> int:
    """Writes of a copy, for each filter: one of each group."""
    rows = layout.parts * layout.strips * (layout.halo_top + layout.rows + layout.halo_bottom)
    return layout.phases * rows * layout.tiling.strip_groups(config)


def _window(layer: Layer) -> bool:
    """Whether a layer has a window sum."""
    return isinstance(layer, WeightLayer) and layer.requant.window is not None
