"""From a network to a bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_host.bundle import Bundle
from plum_hw.config import ArrayConfig
from plum_hw.errors import PlumError
from plum_hw.ir import Network

from .assemble import Step, assemble, field_problems
from .copies import HOST, Copy
from .cycles import lane_use, layer_cycles
from .decode import LayerCode
from .layout import TensorLayout
from .plan import LayerPlan, Plan, plan_network
from .problems import Problem, Refusal
from .schedule import decode_image, schedule

#: Filters that may share additions.
GROUPS = (1, 2)


def check_network(network: Network, config: ArrayConfig) -> list[Problem]:
    """Everything that the array cannot do of a network; empty if `compile_network` succeeds."""
    return _scheduled(network, config, 1)[2]


def compile_network(network: Network, config: ArrayConfig, group: int | None = None) -> Bundle:
    """Place, schedule and pack a network for one array; predict its cycles.

    group : 1, no filters share additions; 2, pairs of filters do wherever they can; None, where
        that saves cycles

    Raises `UnsupportedError` with the first problem that `check_network` finds.
    """
    if group not in (None, *GROUPS):
        raise PlumError(f"group is {group!r}; it must be 1, 2 or None")
    plan, parts, problems = _scheduled(network, config, group)
    if plan is None or problems:
        first = problems[0]
        raise Refusal(first.layer, first.what, first.remedy)
    return _bundle(network, config, plan, parts)


def _scheduled(
    network: Network, config: ArrayConfig, group: int | None
) -> tuple[Plan | None, list[list[Step]], list[Problem]]:
    plan, problems = plan_network(network, config)
    if plan is None:
        return None, [], problems
    problems = [problem for layer in plan.layers for problem in field_problems(config, layer)]
    if problems:
        return plan, [], problems
    parts, problems = schedule(config, plan.layers, group)
    return plan, parts, problems


def _bundle(
    network: Network, config: ArrayConfig, plan: Plan, parts: Sequence[Sequence[Step]]
) -> Bundle:
    images = [assemble(config, part) for part in parts]
    layers = [
        _layer_entry(config, plan, step, codes)
        for part, image in zip(parts, images, strict=True)
        for step, codes in zip(part, decode_image(config, image, len(part)), strict=True)
    ]
    inputs = sorted(plan.copies[network.input.name], key=lambda copy: copy.layout.base)
    maps = [_input_map(config, inputs)]
    addresses = [inputs[0].layout.base]
    pixels = math.prod(network.input.shape)
    shape = network.shape_of(network.output)
    end = 4 * -(-pixels // 4)
    output: dict[str, Any] = {"shape": list(shape), "at": end, "margins": [0] * 4}
    steps: list[dict[str, Any]] = [
        {"part": part, "writes": [], "reads": [], "results": []} for part in range(len(parts))
    ]
    steps[0]["writes"].append([0, 0])
    if network.gives_logits:
        output["kind"] = "logits"
        steps[-1]["results"].append([shape[0], end])
    else:
        (layout,) = (
            copy.layout for copy in plan.copies[plan.network.output] if HOST in copy.readers
        )
        output["kind"] = "map"
        output["bits"] = network.bits_of(network.output)
        maps.append(_output_map(config, layout))
        addresses.append(layout.base)
        steps[-1]["reads"].append([1, end])
    size = math.prod(shape) * (4 if network.gives_logits else 1)
    return Bundle.build(
        {
            "config": config.as_dict(),
            "digest": config.digest,
            "network": {"name": network.name, "digest": network.digest()},
            "input": {
                "shape": list(network.input.shape),
                "bits": network.input.bits,
                "at": 0,
                "margins": [0] * 4,
            },
            "output": output,
            "host_bytes": end + size,
            "labels": None if network.labels is None else list(network.labels),
            "layers": layers,
            "predicted_cycles": sum(layer["cycles"] for layer in layers),
            "parts": [{"layers": len(part)} for part in parts],
            "maps": [
                {"address": base * config.groups, "words": places.shape[1] // config.group_lanes}
                for base, places in zip(addresses, maps, strict=True)
            ],
            "steps": steps,
        },
        code=[image.code for image in images],
        table=[image.table for image in images],
        maps=maps,
    )


def _input_map(config: ArrayConfig, copies: Sequence[Copy]) -> NDArray[np.int32]:
    """What the host writes to each cluster: int32 [clusters, bytes]."""
    rows = []
    for cluster in range(config.clusters):
        maps = []
        for layout in (copy.layout for copy in copies):
            part = cluster // layout.copies
            if part < layout.parts:
                pixels = layout.pixel_map(config.lanes, part, layout.share(cluster))
                maps.append(pixels.ravel())
            else:
                maps.append(np.full(layout.vectors * config.lanes, -1, np.int32))
        rows.append(np.concatenate(maps))
    return np.stack(rows)


def _output_map(config: ArrayConfig, layout: TensorLayout) -> NDArray[np.int32]:
    """What the host keeps of what each cluster holds: int32 [clusters, bytes], each element of the
    map in one place.
    """
    result = np.full((config.clusters, layout.vectors * config.lanes), -1, np.int32)
    for part in range(layout.parts):
        for share in range(layout.shares):
            pixels = layout.pixel_map(config.lanes, part, share).ravel()
            # Halos repeat elements; the last of their places serves.
            used = np.flatnonzero(pixels >= 0)
            _, last = np.unique(pixels[used][::-1], return_index=True)
            kept = used[len(used) - 1 - last]
            result[part * layout.copies + share, kept] = pixels[kept]
    return result


def _layer_entry(
    config: ArrayConfig, plan: Plan, step: Step, codes: Sequence[LayerCode]
) -> dict[str, Any]:
    layer = step.plan
    geometry, network = layer.geometry, plan.network
    cycles = layer_cycles(config, codes)
    density = layer.layer.density
    last = step.last
    return {
        "name": step.name,
        "op": layer.layer.op,
        "cycles": cycles.cycles,
        "beats": cycles.beats,
        "drain_stalls": cycles.drain_stalls,
        "emit_stalls": cycles.emit_stalls,
        "macs": _share(network.macs(layer.layer), step),
        "density": None if density is None else round(density, 6),
        "group": 2 if any(masks.pair for masks in step.masks) else 1,
        "lane_use": round(lane_use(config, codes, cycles.cycles, _pixels(config, step)), 6),
        "bound_by": cycles.bound_by,
        "split": [geometry.parts, geometry.copies],
        "layout": _layouts(layer) if layer.outputs and last else None,
    }


def _layouts(layer: LayerPlan) -> list[dict[str, Any]]:
    """Copies of the output that hold all its rows together."""
    whole = [layout for layout in layer.outputs if layout.first == 0 and _rows(layout)]
    return [layout.as_dict() for layout in (whole[:1] or layer.outputs)]


def _rows(layout: TensorLayout) -> bool:
    """Whether a copy that begins with the first row has all of them."""
    return layout.parts * layout.part_rows >= layout.height


def _share(macs: int, step: Step) -> int:
    """Multiply-accumulates of one step of a layer; they add up to the layer's."""
    geometry = step.plan.geometry
    rows, height = geometry.count, geometry.out_shape[1]
    macs = macs * (geometry.first + rows) // height - macs * geometry.first // height
    return macs * (step.number + 1) // step.count - macs * step.number // step.count


def _pixels(config: ArrayConfig, step: Step) -> list[float]:
    """Pixels that each cluster works on."""
    geometry, source = step.plan.geometry, step.plan.source
    if geometry.reduce:
        _, height, width = geometry.in_shape
        return [height * width / (source.rows * source.phases)] * config.clusters
    rows = geometry.tiling.strips * geometry.tiling.rows
    width = geometry.out_shape[2]
    return [
        max(0, min(rows, geometry.count - cluster // geometry.copies * rows)) * float(width)
        for cluster in range(config.clusters)
    ]
