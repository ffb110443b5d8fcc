"""A network that the memories do not hold, cut into stages that they do.

A stage is a run of layers that fits as it is, with what it reads and what it gives in the host's
memory; or one layer in pieces. Ref: docs/architecture.md, "Pieces".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product

from plum_host.steps import Place
from plum_hw.config import ArrayConfig
from plum_hw.ir import InputSpec, Layer, Network, WeightLayer

from .assemble import field_problems
from .bundling import Bundler, Compiled
from .partial import Split, can_split, choose_split, split_pieces, sums_shape
from .pieces import Cut, Piece, Range, Run, grid, tile_piece
from .plan import plan_network
from .problems import Problem, Refusal
from .schedule import schedule
from .tiling import choose_cut, fit

Margins = tuple[int, int, int, int]
_NONE: Margins = (0, 0, 0, 0)
#: Layers by which a stage is tried to be longer although the shorter one did not fit: a block may
#: end only after several.
_AHEAD = 3
#: Cuts of a layer that are tried.
_CUTS = 4


@dataclass(frozen=True)
class _Stage:
    """*Members*: ``layers``; ``compiled``, if they run as they are; ``cut`` or ``split`` of the one
    layer, if it runs in pieces.
    """

    layers: tuple[Layer, ...]
    compiled: Compiled | None = None
    cut: Cut | None = None
    split: Split | None = None


def compile_whole(
    network: Network, config: ArrayConfig, group: int | None
) -> tuple[Compiled | None, list[Problem]]:
    """Place and schedule a network as it is. The result is None exactly when there are problems."""
    plan, problems = plan_network(network, config)
    if plan is None:
        return None, problems
    problems = [problem for layer in plan.layers for problem in field_problems(config, layer)]
    if problems:
        return None, problems
    parts, problems = schedule(config, plan.layers, group)
    return (None if problems else Compiled(plan, parts)), problems


def compile_pieces(
    network: Network, config: ArrayConfig, group: int | None
) -> tuple[Bundler | None, list[Problem]]:
    """Cut a network into stages. The result is None exactly when there are problems."""
    try:
        stages = list(_stages(network, config, group))
        bundler = Bundler(config, network)
        _make_room(bundler, network, stages)
        for stage in stages:
            _add(bundler, network, stage, group)
    except Refusal as refusal:
        return None, [refusal.problem]
    return bundler, []


# ---- stages --------------------------------------------------------------------------------------


def _stages(network: Network, config: ArrayConfig, group: int | None) -> Iterator[_Stage]:
    first = 0
    while first < len(network.layers):
        stage = _longest(network, config, group, first)
        if stage is None:
            stage = _in_pieces(network, config, network.layers[first])
        yield stage
        first += len(stage.layers)


def _longest(network: Network, config: ArrayConfig, group: int | None, first: int) -> _Stage | None:
    """The longest stage from a layer on that fits as it is."""
    best = None
    failed = 0
    for end in range(first + 1, len(network.layers) + 1):
        layers = network.layers[first:end]
        if not _may_fit(network, config, layers[-1]) or failed > _AHEAD:
            break
        part = _part(network, layers)
        if part is None:
            continue
        compiled, _ = compile_whole(part, config, group)
        if compiled is None:
            failed += 1
            continue
        failed = 0
        best = _Stage(layers, compiled=compiled)
    return best


def _may_fit(network: Network, config: ArrayConfig, layer: Layer) -> bool:
    """Whether a layer fits by itself."""
    shapes = [network.shape_of(name) for name in layer.inputs]
    specs = [
        InputSpec(name=f"input{number}", shape=shape, bits=network.bits_of(name))
        for number, (shape, name) in enumerate(zip(shapes, layer.inputs, strict=True))
    ]
    logits = network.gives_logits and layer.name == network.output
    if logits and network.shape_of(layer.name)[0] >= config.result_depth:
        return False
    return fit(config, network, layer, specs, network.shape_of(layer.name)) is not None


def _part(network: Network, layers: tuple[Layer, ...]) -> Network | None:
    """Layers as a network of their own; None if more than the last one's output is used beyond."""
    inside = {layer.name for layer in layers}
    later = [layer for layer in network.layers if layer.name not in inside]
    for layer in layers[:-1]:
        if layer.name == network.output or any(layer.name in other.inputs for other in later):
            return None
        if not any(layer.name in other.inputs for other in layers):
            return None
    names = dict.fromkeys(name for layer in layers for name in layer.inputs if name not in inside)
    specs = [
        InputSpec(name=name, shape=network.shape_of(name), bits=network.bits_of(name))
        for name in names
    ]
    return Network(
        name=network.name,
        input=specs[0],
        extra_inputs=tuple(specs[1:]),
        layers=layers,
        output=layers[-1].name,
    )


def _in_pieces(network: Network, config: ArrayConfig, layer: Layer) -> _Stage:
    """How to cut a layer. Raises `Refusal` if there is no way."""
    problem: Problem | None = None
    for cut in islice(choose_cut(config, network, layer), _CUTS):
        # One piece shows whether all fit: the largest, with the first weights.
        filters = max(cut.filters, key=lambda each: each[1] - each[0])
        place = Place(0, network.shape_of(layer.source), _cut_margins(network, layer, cut))
        residual = None
        if layer.residual_source is not None:
            residual = Place(0, network.shape_of(layer.residual_source))
        output = Place(0, network.shape_of(layer.name))
        channels = _channels(cut)
        piece = tile_piece(network, layer, cut, filters, place, residual, output, channels[0])
        compiled, problems = compile_whole(piece.network, config, 1)
        if compiled is not None:
            return _Stage((layer,), cut=cut)
        problem = problem or problems[0]
    if problem is None and can_split(layer) and isinstance(layer, WeightLayer):
        return _Stage((layer,), split=choose_split(config, network, layer))
    if problem is None:
        # Nothing fits: what the layer as it is lacks says why.
        alone = _part(network, (layer,))
        assert alone is not None
        _, problems = compile_whole(alone, config, 1)
        problem = problems[0]
    raise Refusal(layer.name, problem.what, problem.remedy)


# ---- host memory ---------------------------------------------------------------------------------


def _cut_margins(network: Network, layer: Layer, cut: Cut) -> Margins:
    """Zeros that tiles read around a layer's input."""
    _, height, width = network.shape_of(layer.source)
    return (*cut.rows.margins(height), *cut.columns.margins(width))


def _split_margins(network: Network, layer: Layer, split: Split) -> Margins:
    _, height, width = network.shape_of(layer.source)
    rows = split.sums.rows
    bottom = rows.step * (rows.total - 1) - rows.before + rows.inputs - height
    return (rows.before, max(0, bottom), *split.sums.columns.margins(width))


def _make_room(bundler: Bundler, network: Network, stages: list[_Stage]) -> None:
    """Places of all tensors that the host holds."""
    margins: dict[str, Margins] = {}
    for stage in stages:
        (layer, *_) = stage.layers
        wanted = _NONE
        if stage.cut is not None:
            wanted = _cut_margins(network, layer, stage.cut)
        elif stage.split is not None:
            wanted = _split_margins(network, layer, stage.split)
        before = margins.get(layer.source, _NONE)
        a, b, c, d = (max(pair) for pair in zip(before, wanted, strict=True))
        margins[layer.source] = (a, b, c, d)
    names = [network.input.name, *(stage.layers[-1].name for stage in stages)]
    for name in names:
        bundler.tensor(name, network.shape_of(name), margins.get(name, _NONE))


def _add(bundler: Bundler, network: Network, stage: _Stage, group: int | None) -> None:
    """All steps of a stage."""
    layer = stage.layers[-1]
    places = bundler.places
    output = places[layer.name]
    logits = network.gives_logits and layer.name == network.output
    if stage.compiled is not None:
        specs = stage.compiled.plan.network.inputs
        bundler.add(
            stage.compiled,
            {spec.name: grid(spec.shape, (*places[spec.name].pitch, 1)) for spec in specs},
            None if logits else grid(output.shape, (*output.pitch, 1)),
            [
                Run(
                    {spec.name: places[spec.name].index(0, 0, 0) for spec in specs},
                    output.index(0, 0, 0),
                )
            ],
        )
        return
    source = places[layer.source]
    residual = None if layer.residual_source is None else places[layer.residual_source]
    if stage.split is not None:
        assert isinstance(layer, WeightLayer)
        name = f"{layer.name[:56]}.sums"
        sums = bundler.tensor(name, sums_shape(network, layer, stage.split))
        every = split_pieces(network, layer, stage.split, (source, sums, residual, output))
        for piece, macs in every:
            _add_piece(bundler, layer, piece, macs, group)
        return
    assert stage.cut is not None
    total, filters = network.macs(layer), network.shape_of(layer.name)[0]
    for (first, last), channels in product(stage.cut.filters, _channels(stage.cut)):
        filters_ = (first, last)
        piece = tile_piece(network, layer, stage.cut, filters_, source, residual, output, channels)
        if logits:
            runs = tuple(
                dataclasses.replace(run, output=output.at + 4 * first) for run in piece.runs
            )
            piece = dataclasses.replace(piece, runs=runs)
        macs = (total * last // filters - total * first // filters) // len(_channels(stage.cut))
        _add_piece(bundler, layer, piece, macs, group, logits=logits)


def _channels(cut: Cut) -> list[Range | None]:
    """Ranges of channels of the pieces, None where there is one only."""
    return list(cut.channels) if len(cut.channels) > 1 else [None]


def _add_piece(
    bundler: Bundler,
    layer: Layer,
    piece: Piece,
    macs: int,
    group: int | None,
    *,
    logits: bool = False,
) -> None:
    compiled, problems = compile_whole(piece.network, bundler.config, group)
    if compiled is None:
        raise Refusal(layer.name, problems[0].what, problems[0].remedy)
    bundler.add(compiled, piece.sources, None if logits else piece.output, piece.runs, macs)
