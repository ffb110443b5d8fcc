"""Code memory of a bundle: how much of it are weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plum_host.bundle import Bundle
from plum_hw.config import ArrayConfig
from plum_hw.layouts import layer_layout, segment_layout


def mask_words(bundle: Bundle) -> int:
    """Mask words that a bundle stores, over all clusters and parts; the rest of code memory are
    descriptors. Words that several layers share count once.
    """
    config = ArrayConfig.from_dict(bundle.manifest["config"])
    return sum(
        _mask_words(config, words, layers)
        for layers, clusters in zip(bundle.parts, bundle.code, strict=True)
        for words in clusters
    )


def _mask_words(config: ArrayConfig, code: NDArray[np.uint32], layers: int) -> int:
    """Those of one cluster's program of so many layers."""
    layer, segment = layer_layout(config), segment_layout(config)
    used = np.zeros(len(code), bool)
    for index in range(layers):
        fields = layer.unpack(code[index * layer.words :][: layer.words].tolist())
        if not fields["passes"]:
            continue
        window, count = fields["window_segments"], fields["segments"]
        begin = fields["segment_ptr"]
        words = [
            segment.unpack([int(word)])["words"] for word in code[begin : begin + window + count]
        ]
        # The window sum is one of the passes.
        passes = 1 if fields["shared_masks"] else fields["passes"] - (window > 0)
        begin = fields["weight_ptr"]
        used[begin : begin + sum(words[:window]) + passes * sum(words[window:])] = True
    return int(used.sum())
