"""Reads a layer back from the words of a cluster's memories, as the gateware's walker does.

The golden machine and the cycle model both start from here, so neither can see more of a program
than the gateware does. Every pointer wraps at its memory's address width, those of descriptors at
the head's where there is one.
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
    """One layer of one cluster, decoded.

    *Members*: ``fields`` of its descriptor; ``window_segments``, ``segments`` and ``constants`` (of
    all filter numbers), an int64 array for each field; ``window_masks`` uint32 [0 or 1, words of
    the window pass], ``masks`` uint32 [passes, words of a pass] (one row if they are shared):
    `mask_bits` of each word, whole words of residual segments; ``entries``, an array for each field
    of the scatter entries, and ``vector``, that of each entry.

    A cluster with nothing to do has no pass, and none of these.
    """

    fields: dict[str, int]
    window_segments: dict[str, Array]
    segments: dict[str, Array]
    window_masks: Words
    masks: Words
    constants: dict[str, Array]
    entries: dict[str, Array]

    @property
    def window(self) -> bool:
        """Whether every vector begins with a window sum."""
        return self.fields["window_segments"] > 0

    @property
    def terms(self) -> int:
        """Products that the emitter adds up for each lane."""
        return 1 + self.window + self.fields["residual"]

    @property
    def residual_words(self) -> NDArray[np.bool_]:
        """Which words of a pass are addresses of residuals: [words of a pass]."""
        return self.segments["residual"].astype(bool).repeat(self.segments["words"])

    @property
    def four_banks(self) -> bool:
        """Whether pairs have the banks of window sums and residuals too, there being none."""
        return bool(self.fields["pair"] and not self.fields["residual"] and not self.window)

    def bank(self, number: int, bank: int) -> int:
        """Bank of sums for a filter of a pass; ``number`` of the pass counts through the layer."""
        if self.four_banks:
            return 2 * (number % 2) + bank
        return number % 2 ^ bank if self.fields["pair"] else number % 2

    def filter_number(self, number: int, bank: int) -> int | None:
        """Number of the filter that a pass completes with a segment's ``bank``; None if the pass is
        the odd one and that filter is missing.
        """
        fields = self.fields
        if not fields["pair"]:
            return number
        if fields["odd"] and bank == 0 and number == fields["passes"] - 1:
            return None
        return 2 * number + bank


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


def decode_layer(config: ArrayConfig, code: Words, table: Words, address: int) -> LayerCode:
    """Decode the layer whose descriptor begins at ``address`` of a cluster's code memory.

    code, table : whole memories, 2**address_bits words each

    Raises ValueError if a scatter list never ends.
    """
    layout = layer_layout(config)
    heads = code[: 1 << config.program_addr_bits]
    fields = layout.unpack(_take(heads, address, layout.words).tolist())
    windows = fields["window_segments"] if fields["passes"] else 0
    # The descriptor counts the window sum's pass, nobody else does.
    fields["passes"] -= windows > 0
    passes = fields["passes"]
    count = fields["segments"] if passes else 0
    both = unpack_records(
        segment_layout(config), _take(heads, fields["segment_ptr"], windows + count)[:, None]
    )
    window_segments = {name: values[:windows] for name, values in both.items()}
    segments = {name: values[windows:] for name, values in both.items()}

    window_words, words = int(window_segments["words"].sum()), int(segments["words"].sum())
    rows = min(1, passes) if fields["shared_masks"] else passes
    pointer = fields["weight_ptr"]
    window_masks = _take(code, pointer, window_words).reshape(min(1, windows), window_words)
    first = 0 if fields["shared_masks"] else window_words
    masks = _take(code, pointer + first, rows * words).reshape(rows, words)
    bits = np.uint32((1 << config.mask_bits) - 1)
    result = LayerCode(
        fields,
        window_segments,
        segments,
        window_masks & bits,
        masks,
        _constants(config, table, fields),
        _lists(config, table, fields),
    )
    masks[:, ~result.residual_words] &= bits
    return result


def _constants(config: ArrayConfig, table: Words, fields: dict[str, int]) -> dict[str, Array]:
    """Constants of all filter numbers, also of the one that the odd pass lacks."""
    layout = requant_layout(config)
    filters = fields["passes"] * (1 + fields["pair"])
    words = _take(table, fields["table_ptr"], filters * layout.words)
    return unpack_records(layout, words.reshape(filters, layout.words))


def _lists(config: ArrayConfig, table: Words, fields: dict[str, int]) -> dict[str, Array]:
    """Scatter entries of all vectors, one list after the other; none if nothing is written."""
    lists = 1 if fields["reduce"] else fields["vectors"]
    if not fields["passes"] or (fields["reduce"] and fields["wide"]):
        lists = 0
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
