"""The bytes that a layer's scatter lists write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_hw.compiler.decode import LayerCode
from plum_hw.config import ArrayConfig
from plum_hw.layouts import Select

from .faults import require

Array = NDArray[Any]


@dataclass(frozen=True)
class Writes:
    """The bytes that a cluster writes in a layer, in the order of time.

    *Members*: ``target``, flat index into a cluster's activation memory; ``source``, into the
    layer's outputs [filters, vectors, lanes], or their number for a zero; ``order`` of the filter
    and vector; ``dest`` and ``grouped``, who receives it.
    """

    target: Array
    source: Array
    order: Array
    dest: Array
    grouped: Array


def decode_writes(config: ArrayConfig, code: LayerCode, filters: Array, outputs: int) -> Writes:
    """What the scatter lists of a cluster's layer write.

    filters : numbers in the order of emission; outputs : how many there are

    Raises `MachineError` if an entry is none that a compiler makes.
    """
    entries, size = code.entries, config.group_lanes
    if not len(entries["offset"]):
        return Writes(*[np.zeros(0, np.int64)] * 5)
    for name in ("source", "target"):
        worst = int(entries[name].max())
        require(worst < config.groups, f"an entry's {name} is {worst} of {config.groups}")
    lane = np.arange(size)
    select = entries["select"][:, None]
    straight = select == Select.STRAIGHT
    written = np.broadcast_to(select != Select.HOLD, (len(select), size))
    # EVEN and ODD take lanes 0..7 of the group that is held and 8..15 of the source.
    lanes = np.where(straight, lane + size, 2 * lane + (select == Select.ODD))
    held = lanes < size
    source = lanes % size
    target = size * entries["target"][:, None] + lane
    if code.fields["reduce"]:
        require(bool(straight.all()), "a reduction writes EVEN or ODD lanes")
        pixel = source == 0
    else:
        low = _held(entries)
        pixel = source < np.where(held, entries["count"][low, None], entries["count"][:, None])
        group = np.where(held, entries["source"][low, None], entries["source"][:, None])
        source = source + size * group
    vectors = code.fields["vectors"]
    number = np.arange(len(filters))[:, None, None]
    source = (number * vectors + entries["vector"][:, None]) * config.lanes + source
    channels, dests = (code.constants[name][filters][:, None, None] for name in ("channel", "dest"))
    address = code.fields["out_base"] + entries["offset"][:, None] + channels
    address &= (1 << config.act_addr_bits) - 1
    order = entries["vector"][:, None] * len(filters) + number
    dest = (entries["dest"][:, None] + dests) & (1 << config.cluster_bits) - 1
    full = np.broadcast_arrays(
        address * config.lanes + target,
        np.where(pixel, source, outputs),
        order,
        dest,
        entries["grouped"][:, None],
    )
    kept = np.broadcast_to(written, source.shape)
    flat = [item[kept] for item in full]
    in_time = np.argsort(flat[2], kind="stable")
    return Writes(*[item[in_time] for item in flat])


def _held(entries: dict[str, Array]) -> Array:
    """For each scatter entry the number of the one that has held a group for it."""
    number = np.arange(len(entries["select"]))
    holds = entries["select"] == Select.HOLD
    last = np.maximum.accumulate(np.where(holds, number, -1))
    halves = (entries["select"] == Select.EVEN) | (entries["select"] == Select.ODD)
    known = (last >= 0) & (entries["vector"][last] == entries["vector"])
    require(bool((known | ~halves).all()), "an EVEN or ODD entry of a list with no HOLD before it")
    return last
