"""Where the elements of a tensor lie in activation memory.

A vector of ``lanes`` activations holds pieces of several image rows of one channel side by side
(*strips*); channels are innermost. Ref: docs/architecture.md, "Vectors, strips and halos".
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_hw.config import ArrayConfig

#: Marks, in a pixel map, a lane that holds no element of the tensor.
NO_PIXEL = -1


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How the rows of a map share vectors.

    *Parameters*: ``strips`` side by side; ``strip_lanes``, lanes of one strip (whole groups);
    ``rows``, consecutive rows in one strip.
    """

    strips: int
    strip_lanes: int
    rows: int

    def strip_groups(self, config: ArrayConfig) -> int:
        """Lane groups of one strip."""
        return self.strip_lanes // config.group_lanes

    def left_edge(self, config: ArrayConfig) -> int:
        """Bit g is set where group g begins a strip. Groups behind the last strip count as strips
        too, so that nothing is ever read from them.
        """
        return sum(1 << g for g in range(0, config.groups, self.strip_groups(config)))


def choose_tiling(config: ArrayConfig, height: int, width: int) -> Tiling | None:
    """Tiling with the fewest rows, so the fewest vectors, for a map of ``height`` rows that need
    ``width`` lanes each; of equal ones that with the fewest strips, so the fewest halo rows.

    None if a row is wider than a vector.
    """
    strip_lanes = -(-width // config.group_lanes) * config.group_lanes
    if strip_lanes > config.lanes:
        return None
    rows = -(-height // (config.lanes // strip_lanes))
    return Tiling(strips=-(-height // rows), strip_lanes=strip_lanes, rows=rows)


@dataclass(frozen=True, kw_only=True)
class TensorLayout:
    """One copy of a tensor in the activation memories.

    *Parameters*: ``base``, its first vector; ``channels``, ``height``, ``width`` of the tensor;
    ``phases`` of columns: lane l of phase j holds column ``column_step*l + column_first + j``
    (1 and 0: columns as they are; 2 and 0: even and odd columns apart); ``strips``,
    ``strip_lanes``, ``rows`` as in `Tiling`, in each part; ``halo_top``, ``halo_bottom`` rows of
    each strip beyond its own; ``cleared``: lanes outside all strips hold zeros as well; ``parts``
    of ``part_rows`` consecutive rows from row ``first`` on, each in ``copies`` clusters: part r in
    those from ``r*copies`` on. With ``shares`` (1 or ``copies``) each of these holds only a run of
    `held` channels, one after the other.
    """

    base: int
    channels: int
    height: int
    width: int
    phases: int
    strips: int
    strip_lanes: int
    rows: int
    halo_top: int
    halo_bottom: int
    cleared: bool = False
    parts: int = 1
    copies: int = 1
    shares: int = 1
    first: int = 0
    column_step: int = 1
    column_first: int = 0

    @property
    def part_rows(self) -> int:
        """Rows of one part."""
        return self.strips * self.rows

    @property
    def tiling(self) -> Tiling:
        """How rows share vectors."""
        return Tiling(strips=self.strips, strip_lanes=self.strip_lanes, rows=self.rows)

    @property
    def held(self) -> int:
        """Channels in one cluster; the last share may have fewer."""
        return -(-self.channels // self.shares)

    @property
    def phase_pitch(self) -> int:
        """Vectors of one column phase."""
        return (self.halo_top + self.rows + self.halo_bottom) * self.held

    @property
    def vectors(self) -> int:
        """Vectors that the copy occupies in each cluster."""
        return self.phases * self.phase_pitch

    def at(self, base: int) -> TensorLayout:
        """The same copy at another address."""
        return dataclasses.replace(self, base=base)

    def row_address(self, row: int, phase: int = 0) -> int:
        """Vector of the first channel of a local row; halo rows are those below 0 and from ``rows``
        on.
        """
        return self.base + phase * self.phase_pitch + (self.halo_top + row) * self.held

    def share(self, cluster: int) -> int:
        """The share that a cluster holds."""
        return cluster % self.copies if self.shares > 1 else 0

    def pixel_map(self, lanes: int, part: int = 0, share: int = 0) -> NDArray[np.int32]:
        """What every lane of a part and share has to hold: int32 [vectors, lanes], the element's
        index in (C, H, W) order, or `NO_PIXEL` for a zero (in unused lanes without ``cleared``: for
        anything).
        """
        strip = np.arange(self.strips)[None, None, None, :, None] + part * self.strips
        local = np.arange(-self.halo_top, self.rows + self.halo_bottom)[None, :, None, None, None]
        lane = np.arange(self.strip_lanes)[None, None, None, None, :]
        phase = np.arange(self.phases)[:, None, None, None, None]
        channel = np.arange(self.held)[None, None, :, None, None] + share * self.held
        y = self.first + strip * self.rows + local
        x = self.column_step * lane + self.column_first + phase
        inside = (
            (channel < self.channels) & (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
        )
        pixels = np.where(inside, (channel * self.height + y) * self.width + x, NO_PIXEL)
        result = np.full((self.vectors, lanes), NO_PIXEL, np.int32)
        used = self.strips * self.strip_lanes
        result[:, :used] = pixels.reshape(self.vectors, used)
        return result

    def as_dict(self) -> dict[str, Any]:
        """The parameters, as the bundle's manifest stores them."""
        return dataclasses.asdict(self)
