"""Reads a layer back from the words of a cluster's memories, as the gateware's walker does.

The golden machine and the cycle model both start from here, so neither can see more of a program
than the gateware does. Every pointer wraps at its memory's address width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plum_hw.config import ArrayConfig
from plum_hw.layouts import (
    Layout,
    layer_layout,
    requant_layout,
    scatter_layout,
    segment_layout,
)

Words = NDArray[np.uint32]
Array = NDArray[np.int64]


@dataclass(frozen=True)
class LayerCode:
    """One decoded layer.

    *Members*: ``fields`` of its descriptor; ``segments`` and ``constants``, an int64 array for each
    field; ``masks`` uint32 [filters, words of a filter] (one row if they are shared); ``entries``,
    an array for each field of the scatter entries, and ``vector``, that of each entry.
    """

    fields: dict[str, int]
    segments: dict[str, Array]
    masks: Words
    constants: dict[str, Array]
    entries: dict[str, Array]

    @property
    def terms(self) -> int:
        """Products that the emitter adds up for each lane."""
        return 1 + self.fields["window"] + self.fields["residual"]

    @property
    def emitted(self) -> int:
        """Filters that the emitter sees: all but the window sum."""
        return self.fields["filters"] - self.fields["window"]

    @property
    def last_entries(self) -> int:
        """Scatter entries of the last vector."""
        return int((self.entries["vector"] == self.fields["vectors"] - 1).sum())


def unpack_records(layout: Layout, words: Words) -> dict[str, Array]:
    """Fields of many records: ``words`` [records, layout.words]. Fields have at most 62 bits."""
    result = {}
    position = 0
    wide = words.astype(np.int64)
    for item in layout.fields:
        value = np.zeros(len(words), np.int64)
        filled = 0
        while filled < item.bits:
            word, low = divmod(position + filled, 32)
            take = min(32 - low, item.bits - filled)
            value |= ((wide[:, word] >> low) & ((1 << take) - 1)) << filled
            filled += take
        if item.signed:
            value -= (value >> (item.bits - 1)) << item.bits
        result[item.name] = value
        position += item.bits
    return result


def _take(memory: Words, first: int, count: int) -> Words:
    return memory[(first + np.arange(count)) % len(memory)]


def decode_layer(
    config: ArrayConfig, program: Words, table: Words, weight: Words, address: int
) -> LayerCode:
    """Decode the layer whose descriptor begins at ``address`` of program memory.

    program, table, weight : whole memories, 2**address_bits words each

    Raises ValueError if a scatter list never ends.
    """
    layout = layer_layout(config)
    fields = layout.unpack(_take(program, address, layout.words).tolist())
    segments = unpack_records(
        segment_layout(config), _take(program, fields["segment_ptr"], fields["segments"])[:, None]
    )
    words = int(segments["words"].sum())
    rows = 1 if fields["shared_masks"] else fields["filters"]
    masks = _take(weight, fields["weight_ptr"], rows * words).reshape(rows, words)
    emitted = fields["filters"] - fields["window"]
    requant = requant_layout(config)
    constants = unpack_records(
        requant,
        _take(table, fields["table_ptr"], emitted * requant.words).reshape(emitted, requant.words),
    )
    return LayerCode(fields, segments, masks, constants, _lists(config, table, fields))


def _lists(config: ArrayConfig, table: Words, fields: dict[str, int]) -> dict[str, Array]:
    """Scatter entries of all vectors, one list after the other; none if nothing is written."""
    lists = 0 if fields["wide"] else 1 if fields["reduce"] else fields["vectors"]
    layout = scatter_layout(config)
    last_bit = layout.bits - 1
    words = _take(table, fields["scatter_ptr"], len(table))
    ends = np.flatnonzero((words >> last_bit) & 1)
    if len(ends) < lists:
        raise ValueError("a scatter list has no last entry")
    count = int(ends[lists - 1]) + 1 if lists else 0
    entries = unpack_records(layout, words[:count, None])
    last = entries["last"]
    entries["vector"] = np.cumsum(last) - last
    return entries
