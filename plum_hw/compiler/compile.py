"""From a network to a bundle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_host.bundle import Bundle
from plum_hw.config import ArrayConfig
from plum_hw.ir import Network
from plum_hw.layouts import layer_layout

from .assemble import PROGRAM_ADDRESS, ClusterImage, assemble
from .copies import HOST
from .cycles import lane_use, layer_cycles
from .decode import LayerCode, decode_layer
from .layout import TensorLayout
from .plan import LayerPlan, Plan, plan_network
from .problems import Problem, Refusal


def check_network(network: Network, config: ArrayConfig) -> list[Problem]:
    """Everything that the array cannot do of a network; empty if `compile_network` succeeds."""
    plan, problems = plan_network(network, config)
    return problems if plan is None else assemble(config, plan)[1]


def compile_network(network: Network, config: ArrayConfig) -> Bundle:
    """Place, schedule and pack a network for one array; predict its cycles.

    Raises `UnsupportedError` with the first problem that `check_network` finds.
    """
    plan, problems = plan_network(network, config)
    image = None
    if plan is not None:
        image, problems = assemble(config, plan)
    if plan is None or image is None:
        first = problems[0]
        raise Refusal(first.layer, first.what, first.remedy)
    return _bundle(network, config, plan, image)


def _bundle(network: Network, config: ArrayConfig, plan: Plan, image: ClusterImage) -> Bundle:
    images = plan.copies[network.input.name]
    first = min(copy.layout.base for copy in images)
    input_map = np.concatenate(
        [
            copy.layout.pixel_map(config.lanes).ravel()
            for copy in sorted(images, key=lambda copy: copy.layout.base)
        ]
    )
    layers = [
        _layer_entry(config, plan, layer, code)
        for layer, code in zip(
            plan.layers, decode_image(config, image, len(plan.layers)), strict=True
        )
    ]
    output: dict[str, Any] = {"shape": list(network.shape_of(network.output))}
    output_map = None
    if network.gives_logits:
        output["kind"] = "logits"
    else:
        (layout,) = (
            copy.layout for copy in plan.copies[plan.network.output] if HOST in copy.readers
        )
        output["kind"] = "map"
        output["bits"] = network.bits_of(network.output)
        output["address"] = layout.base * config.groups
        output["words"] = layout.vectors * config.groups
        output_map = _output_map(config, layout)
    return Bundle.build(
        {
            "config": config.as_dict(),
            "digest": config.digest,
            "network": {"name": network.name, "digest": network.digest()},
            "input": {
                "shape": list(network.input.shape),
                "bits": network.input.bits,
                "address": first * config.groups,
                "words": len(input_map) // config.group_lanes,
            },
            "output": output,
            "labels": None if network.labels is None else list(network.labels),
            "layers": layers,
            "predicted_cycles": sum(layer["cycles"] for layer in layers),
            "program_address": PROGRAM_ADDRESS,
        },
        program=[image.program],
        table=[image.table],
        weight=[image.weight],
        input_map=input_map,
        output_map=output_map,
    )


def decode_image(config: ArrayConfig, image: ClusterImage, layers: int) -> list[LayerCode]:
    """The layers of a program, as the gateware reads them."""
    program = _whole(image.program, config.program_addr_bits)
    table = _whole(image.table, config.table_addr_bits)
    weight = _whole(image.weight, config.weight_addr_bits)
    words = layer_layout(config).words
    return [
        decode_layer(config, program, table, weight, PROGRAM_ADDRESS + index * words)
        for index in range(layers)
    ]


def _whole(words: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    memory = np.zeros(1 << bits, np.uint32)
    memory[: len(words)] = words
    return memory


def _output_map(config: ArrayConfig, layout: TensorLayout) -> NDArray[np.int32]:
    """Byte offset of each element of a map from the first byte of its copy."""
    pixels = layout.pixel_map(config.lanes).ravel()
    # Halos repeat elements; any of the places serves.
    result = np.zeros(layout.channels * layout.height * layout.width, np.int32)
    used = np.flatnonzero(pixels >= 0)
    result[pixels[used]] = used
    return result


def _layer_entry(
    config: ArrayConfig, plan: Plan, layer: LayerPlan, code: LayerCode
) -> dict[str, Any]:
    geometry, network = layer.geometry, plan.network
    cycles = layer_cycles(config, code)
    density = layer.layer.density
    if geometry.reduce:
        _, height, width = geometry.in_shape
        pixels = height * width / (layer.source.rows * layer.source.phases)
    else:
        pixels = geometry.out_shape[1] * geometry.out_shape[2]
    return {
        "name": layer.layer.name,
        "op": layer.layer.op,
        "cycles": cycles.cycles,
        "beats": cycles.beats,
        "drain_stalls": cycles.drain_stalls,
        "emit_stalls": cycles.emit_stalls,
        "macs": network.macs(layer.layer),
        "density": None if density is None else round(density, 6),
        "group": 1,
        "lane_use": round(lane_use(config, code, cycles.cycles, pixels), 6),
        "bound_by": cycles.bound_by,
        "layout": layer.outputs[0].as_dict() if layer.outputs else None,
    }
