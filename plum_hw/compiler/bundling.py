"""Puts a bundle together: parts, the host's memory and maps, and its steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_host.bundle import Bundle
from plum_host.steps import Place
from plum_hw.config import ArrayConfig
from plum_hw.ir import Network, Shape

from .assemble import Image, Step, assemble
from .copies import HOST, Copy
from .cycles import lane_use, layer_cycles
from .decode import LayerCode
from .layout import TensorLayout
from .pieces import Array, Run
from .plan import LayerPlan, Plan
from .schedule import decode_image

#: Alignment of tensors in host memory: logits are words.
_ALIGNMENT = 4


@dataclass(frozen=True)
class Compiled:
    """A network, or a piece of one, that fits the array. *Members*: ``plan``; ``parts``, the steps
    of each.
    """

    plan: Plan
    parts: list[list[Step]]


@dataclass(frozen=True)
class _Written:
    """A map that the device holds as it was written. *Members*: ``map`` and ``offset``; vectors
    from ``low`` to ``high``.
    """

    map: int
    offset: int
    low: int
    high: int


class Bundler:
    """Collects what a bundle holds, in the order in which it runs.

    *Parameters*: ``config``; ``network``, as a whole.
    """

    def __init__(self, config: ArrayConfig, network: Network) -> None:
        self.config = config
        self.network = network
        self.places: dict[str, Place] = {}
        self._end = 0
        self._images: list[Image] = []
        self._parts: list[int] = []
        self._layers: list[dict[str, Any]] = []
        self._maps: dict[tuple[int, bytes], int] = {}
        self._tables: list[tuple[int, NDArray[np.int32]]] = []
        self._steps: list[dict[str, Any]] = []
        self._held: list[_Written] = []

    # ---- host memory -----------------------------------------------------------------------------

    def tensor(
        self, name: str, shape: Shape, margins: tuple[int, int, int, int] = (0, 0, 0, 0)
    ) -> Place:
        """Make room for a tensor; the image's comes first."""
        place = Place(self._end, shape, margins)
        logits = self.network.gives_logits and name == self.network.output
        size = math.prod(shape) * 4 if logits else place.size
        self._end += -(-size // _ALIGNMENT) * _ALIGNMENT
        self.places[name] = place
        return place

    # ---- what runs -------------------------------------------------------------------------------

    def add(
        self,
        compiled: Compiled,
        sources: dict[str, Array],
        output: Array | None,
        runs: Sequence[Run],
        macs: int | None = None,
    ) -> None:
        """Run a network once or more often.

        sources, output, runs : as those of `pieces.Piece`; ``output`` None for logits
        macs : of all runs, if not those of the network
        """
        plan = compiled.plan
        parts = self._assembled(compiled, len(runs), macs)
        writes = []
        for spec in plan.network.inputs:
            copies = sorted(plan.copies[spec.name], key=lambda copy: copy.layout.base)
            places = _looked_up(_input_pixels(self.config, copies), sources[spec.name])
            base = copies[0].layout.base
            end = base + sum(copy.layout.vectors for copy in copies)
            writes.append((spec.name, self._map(base, places), base, end))
        reads = []
        if output is not None:
            (layout,) = (
                copy.layout for copy in plan.copies[plan.network.output] if HOST in copy.readers
            )
            pixels = _output_pixels(self.config, layout)
            reads.append(self._map(layout.base, _looked_up(pixels, output)))
        for run in runs:
            for part in parts:
                self._steps.append({"part": part, "writes": [], "reads": [], "results": []})
            first, last = self._steps[-len(parts)], self._steps[-1]
            for name, number, low, high in writes:
                written = _Written(number, run.inputs[name], low, high)
                if written not in self._held:
                    first["writes"].append([number, run.inputs[name]])
                    self._forget([(low, high)])
                    self._held.append(written)
            last["reads"] += [[number, run.output] for number in reads]
            if output is None:
                last["results"].append([plan.network.shape_of(plan.network.output)[0], run.output])
            self._forget(
                [
                    (copy.layout.base, copy.layout.base + copy.layout.vectors)
                    for name, copies in plan.copies.items()
                    if not plan.network.is_input(name)
                    for copy in copies
                ]
            )

    def _forget(self, spans: Sequence[tuple[int, int]]) -> None:
        """What is overwritten."""
        self._held = [
            each
            for each in self._held
            if not any(low < each.high and each.low < high for low, high in spans)
        ]

    def _map(self, base: int, places: NDArray[np.int32]) -> int:
        key = (base, places.tobytes())
        if key not in self._maps:
            self._maps[key] = len(self._tables)
            self._tables.append((base, places))
        return self._maps[key]

    def _assembled(self, compiled: Compiled, runs: int, macs: int | None) -> list[int]:
        """Numbers of the parts."""
        numbers = []
        for part in compiled.parts:
            image = assemble(self.config, part)
            decoded = decode_image(self.config, image, len(part))
            numbers.append(len(self._parts))
            self._images.append(image)
            self._parts.append(len(part))
            for step, codes in zip(part, decoded, strict=True):
                entry = _layer_entry(self.config, compiled.plan, step, codes, macs)
                for key in ("cycles", "beats", "drain_stalls", "emit_stalls"):
                    entry[key] *= runs
                self._layers.append(entry)
        return numbers

    # ---- the result ------------------------------------------------------------------------------

    def bundle(self, batch: int = 1) -> Bundle:
        """All of it. Raises `BundleError` where it is more than a bundle may hold.

        batch : inputs of the host that are the pixels of one of the network
        """
        network, config = self.network, self.config
        return Bundle.build(
            {
                "config": config.as_dict(),
                "digest": config.digest,
                "network": {"name": network.name, "digest": network.digest()},
                "input": {
                    **_placed(self.places[network.input.name]),
                    "bits": network.input.bits,
                },
                "output": {
                    **_placed(self.places[network.output]),
                    **(
                        {"kind": "logits"}
                        if network.gives_logits
                        else {"kind": "map", "bits": network.bits_of(network.output)}
                    ),
                },
                "host_bytes": self._end,
                **({"batch": batch} if batch > 1 else {}),
                "labels": None if network.labels is None else list(network.labels),
                "layers": self._layers,
                "predicted_cycles": sum(layer["cycles"] for layer in self._layers),
                "parts": [{"layers": count} for count in self._parts],
                "maps": [
                    {
                        "address": base * config.groups,
                        "words": places.shape[1] // config.group_lanes,
                    }
                    for base, places in self._tables
                ],
                "steps": self._steps,
                "tensors": [
                    {"name": name, **_placed(place)}
                    for name, place in self.places.items()
                    if name not in (network.input.name, network.output)
                ],
            },
            code=[image.code for image in self._images],
            table=[image.table for image in self._images],
            maps=[places for _, places in self._tables],
        )


def _placed(place: Place) -> dict[str, Any]:
    return {"at": place.at, "shape": list(place.shape), "margins": list(place.margins)}


# ---- maps ----------------------------------------------------------------------------------------


def _looked_up(pixels: NDArray[np.int32], places: Array) -> NDArray[np.int32]:
    """Elements of a tensor, -1 for none, as their places in host memory."""
    flat = np.append(places.ravel(), -1)
    return flat[pixels].astype(np.int32)


def _input_pixels(config: ArrayConfig, copies: Sequence[Copy]) -> NDArray[np.int32]:
    """The element that each byte of a cluster holds of copies that lie side by side: int32
    [clusters, bytes], -1 for zeros.
    """
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


def _output_pixels(config: ArrayConfig, layout: TensorLayout) -> NDArray[np.int32]:
    """The element that the host takes from each byte of a cluster: int32 [clusters, bytes], each
    element in one place, -1 for what it does not take.
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


# ---- entries of layers ---------------------------------------------------------------------------


def _layer_entry(
    config: ArrayConfig, plan: Plan, step: Step, codes: Sequence[LayerCode], macs: int | None
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
        "macs": _share(network.macs(layer.layer) if macs is None else macs, step),
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
