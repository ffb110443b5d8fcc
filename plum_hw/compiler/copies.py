"""The copies of every tensor that its readers demand.

A window, a residual and a stride-2 window may each need another layout of one tensor. Readers whose
demands agree but for halos share a copy with the largest halos; the producer writes all copies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from plum_hw.config import ArrayConfig
from plum_hw.ir import Network

from .geometry import Geometry, plain_layout
from .layout import TensorLayout

#: A reader of a tensor: name of the layer, which of its inputs, and the region. The host reads the
#: output.
Reader = tuple[str, int, int]
HOST: Reader = ("", 0, 0)


@dataclass
class Copy:
    """One copy of a tensor. *Members*: ``tensor``; ``layout``, placed by `memory.allocate`;
    ``readers``; ``apart``: nobody else is to read it.
    """

    tensor: str
    layout: TensorLayout
    readers: list[Reader]
    apart: bool = False

    def merge(self, wanted: TensorLayout, reader: Reader) -> bool:
        """Take up a further reader if this copy can serve it with larger halos."""
        if self.apart:
            return False
        mine = self.layout
        top, bottom = (
            max(mine.halo_top, wanted.halo_top),
            max(mine.halo_bottom, wanted.halo_bottom),
        )
        merged = dataclasses.replace(mine, halo_top=top, halo_bottom=bottom)
        if merged != dataclasses.replace(wanted, halo_top=top, halo_bottom=bottom):
            return False
        self.layout = merged
        self.readers.append(reader)
        return True

    @property
    def whole(self) -> bool:
        """Whether every row lies in a strip, and not only in a halo, and has all its channels."""
        layout = self.layout
        rows = layout.parts * layout.part_rows
        return layout.first == 0 and rows >= layout.height and layout.shares == 1

    @property
    def plain(self) -> bool:
        """Whether it is whole, with each column once."""
        return self.whole and self.layout.column_step == self.layout.phases

    @property
    def everywhere(self) -> bool:
        """Whether every cluster holds the whole of it, with each column once."""
        return self.plain and self.layout.parts == 1


def plan_copies(
    config: ArrayConfig, network: Network, layers: Sequence[Sequence[Geometry]]
) -> dict[str, list[Copy]]:
    """Copies of the input and of each layer's output, by tensor name; logits have none."""
    geometries = [geometry for regions in layers for geometry in regions]
    names = [spec.name for spec in network.inputs]
    names += [geometry.layer.name for geometry in geometries]
    readers: dict[str, list[Geometry]] = {name: [] for name in names}
    for geometry in geometries:
        for name in dict.fromkeys(geometry.layer.inputs):
            readers[name].append(geometry)
    made = {regions[0].layer.name: regions for regions in layers}
    return {
        tensor: tensor_copies(config, network, tensor, each, made.get(tensor, ()))
        for tensor, each in readers.items()
    }


def tensor_copies(
    config: ArrayConfig,
    network: Network,
    tensor: str,
    readers: Sequence[Geometry],
    made: Sequence[Geometry],
) -> list[Copy]:
    """Copies of one tensor. ``readers``: all layers that read it, in their order; ``made``, the
    regions of the layer that gives it, none for an input.
    """
    copies: list[Copy] = []
    flexible: list[tuple[Reader, bool]] = []
    for geometry in readers:
        layer, region = geometry.layer, geometry.region
        if layer.source == tensor:
            reader = (layer.name, 0, region)
            if geometry.reduce:
                flexible.append((reader, True))
            else:
                _demand(copies, tensor, geometry.source_layout(), reader)
        if layer.residual_source == tensor:
            reader, wanted = (layer.name, 1, region), geometry.residual_layout()
            if geometry.apart:
                copies.append(Copy(tensor, wanted, [reader], apart=True))
            else:
                _demand(copies, tensor, wanted, reader)
    if tensor == network.output and not network.gives_logits:
        if not copies and not flexible and len(made) == 1 and not made[0].reduce:
            # The host alone reads it: each cluster keeps what falls to it.
            (geometry,) = made
            wanted = dataclasses.replace(geometry.residual_layout(), shares=geometry.copies)
            return [Copy(tensor, wanted, [HOST])]
        flexible.append((HOST, False))
    for reader, cleared in flexible:
        _serve(config, network, copies, tensor, reader, cleared)
    return copies


def _demand(copies: list[Copy], tensor: str, wanted: TensorLayout, reader: Reader) -> None:
    if not any(copy.merge(wanted, reader) for copy in copies):
        copies.append(Copy(tensor, wanted, [reader]))


def _serve(
    config: ArrayConfig,
    network: Network,
    copies: list[Copy],
    tensor: str,
    reader: Reader,
    cleared: bool,
) -> None:
    """Serve a reader that takes any layout: the copy with the fewest rows that is there anyway, or
    one made for it. A dense layer (``cleared``) sums all lanes, so they must hold zeros.
    """
    usable = [copy for copy in copies if (copy.everywhere if cleared else copy.plain)]
    if usable:
        chosen = min(usable, key=lambda copy: copy.layout.phases * copy.layout.rows)
    else:
        chosen = Copy(tensor, plain_layout(config, network.shape_of(tensor), reader[0] or None), [])
        copies.append(chosen)
    chosen.readers.append(reader)
    if cleared:
        chosen.layout = dataclasses.replace(chosen.layout, cleared=True)
