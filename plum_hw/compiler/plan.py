"""What is known of each layer before it is packed: geometry, places, masks, constants, lists."""

from __future__ import annotations

from dataclasses import dataclass

from plum_hw.config import ArrayConfig
from plum_hw.ir import Layer, Network
from plum_hw.layouts import Select

from .columns import flipped_filters, layer_weights
from .copies import Copy, plan_copies
from .geometry import Geometry, layer_geometry, plain_layout
from .layout import TensorLayout
from .lower import lower
from .memory import allocate
from .problems import Problem, Refusal
from .requant import Constants, layer_constants
from .scatter import Entry, scatter_lists
from .segments import Masks, build_masks


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """One layer, placed.

    *Members*: ``geometry``; ``source``, layout that the window reads; ``residual``, layout of the
    residual or None; ``outputs``, layouts of all copies that are written (none of logits);
    ``masks``, ``constants``; ``lists``, the scatter list of each vector.
    """

    geometry: Geometry
    source: TensorLayout
    residual: TensorLayout | None
    outputs: tuple[TensorLayout, ...]
    masks: Masks
    constants: Constants
    lists: tuple[tuple[Entry, ...], ...]

    @property
    def layer(self) -> Layer:
        """The layer of the network."""
        return self.geometry.layer

    @property
    def out_base(self) -> int:
        """What the offsets of the scatter entries are relative to."""
        return self.outputs[0].base if self.outputs else 0


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

    def plan(self) -> tuple[Plan | None, list[Problem]]:
        network, config = self.network, self.config
        self._check_whole()
        geometries = [self._geometry(layer) for layer in network.layers]
        placed = [geometry for geometry in geometries if geometry is not None]
        copies: dict[str, list[Copy]] = {}
        vectors = 0
        if len(placed) == len(geometries):
            copies = plan_copies(config, network, placed)
            try:
                vectors = allocate(config, network, placed, copies)
            except Refusal as refusal:
                self.problems.append(refusal.problem)
        constants = {layer.name: self._constants(layer) for layer in network.layers}
        masks = {each.layer.name: self._masks(each, copies) for each in placed}
        if self.problems:
            order = {layer.name: index for index, layer in enumerate(network.layers)}
            self.problems.sort(key=lambda problem: order.get(problem.layer or "", -1))
            return None, self.problems
        layers = tuple(
            self._layer(each, copies, masks[each.layer.name], constants[each.layer.name])
            for each in placed
        )
        return Plan(network=network, layers=layers, copies=copies, vectors=vectors), []

    def _check_whole(self) -> None:
        """What concerns the network as a whole."""
        network, config = self.network, self.config
        if config.clusters != 1:
            self.problems.append(
                Problem(
                    None,
                    f"the array has {config.clusters} clusters",
                    "the compiler places networks on one cluster: use an array with clusters 1",
                )
            )
        results = network.shape_of(network.output)[0]
        if network.gives_logits and results > config.result_depth:
            self.problems.append(
                Problem(
                    network.output,
                    f"it gives {results} results and the array holds {config.result_depth}",
                    f"use an array with result_depth {results} or more",
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

    def _geometry(self, layer: Layer) -> Geometry | None:
        try:
            return layer_geometry(self.config, self.network, layer)
        except Refusal as refusal:
            self.problems.append(refusal.problem)
            return None

    def _constants(self, layer: Layer) -> Constants | None:
        flipped = flipped_filters(layer, self.network.shape_of(layer.name)[0])
        try:
            return layer_constants(self.config, self.network, layer, flipped)
        except Refusal as refusal:
            self.problems.append(refusal.problem)
            return None

    def _masks(self, geometry: Geometry, copies: dict[str, list[Copy]]) -> Masks | None:
        layer = geometry.layer
        weights = layer_weights(geometry, self._read(copies, geometry, 0))
        peak = (1 << self.network.bits_of(layer.source)) - 1
        try:
            return build_masks(self.config, layer.name, weights, peak)
        except Refusal as refusal:
            self.problems.append(refusal.problem)
            return None

    def _layer(
        self,
        geometry: Geometry,
        copies: dict[str, list[Copy]],
        masks: Masks | None,
        constants: Constants | None,
    ) -> LayerPlan:
        """Put together what was found, once everything was."""
        assert masks is not None
        assert constants is not None
        layer = geometry.layer
        outputs = tuple(copy.layout for copy in copies[layer.name])
        return LayerPlan(
            geometry=geometry,
            source=self._read(copies, geometry, 0),
            residual=self._read(copies, geometry, 1) if len(layer.inputs) == 2 else None,
            outputs=outputs,
            masks=masks,
            constants=constants,
            lists=self._lists(geometry, outputs),
        )

    def _read(self, copies: dict[str, list[Copy]], geometry: Geometry, slot: int) -> TensorLayout:
        """Layout that a layer reads; where nothing is placed as a network cannot be, one that
        serves for finding what else is wrong.
        """
        layer = geometry.layer
        for copy in copies.get(layer.inputs[slot], ()):
            if (layer.name, slot) in copy.readers:
                return copy.layout
        if slot:
            return geometry.residual_layout()
        if geometry.reduce:
            return plain_layout(self.config, geometry.in_shape, layer.name)
        return geometry.source_layout()

    def _lists(
        self, geometry: Geometry, outputs: tuple[TensorLayout, ...]
    ) -> tuple[tuple[Entry, ...], ...]:
        if geometry.logits:
            return ((),)
        if geometry.reduce:
            # The sum goes to lane 0 of one group; `lower` sees to it that this is enough.
            assert len(outputs) == 1
            return ((Entry(0, 0, 0, Select.STRAIGHT, 0, 1),),)
        lists = scatter_lists(self.config, geometry.tiling, outputs, outputs[0].base)
        return tuple(tuple(entries) for entries in lists)
