"""Which cluster computes which filters of a layer."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.int64]


def assign_filters(beats: Array, parts: int, *, consecutive: bool) -> list[list[int]]:
    """Channels of each filter part, in ascending order; parts may be empty.

    beats : of each filter, int64 [filters]
    consecutive : each part is a run of channels, as many in each as possible

    Otherwise the longest filter goes to the part with the least work so far (Graham's LPT rule,
    SIAM J. Appl. Math. 17, 1969), which is within a third of the best split and mostly far closer.
    """
    if consecutive:
        return [part.tolist() for part in np.array_split(np.arange(len(beats)), parts)]
    work = [(0, 0, part) for part in range(parts)]
    result: list[list[int]] = [[] for _ in range(parts)]
    for channel in np.argsort(-beats, kind="stable").tolist():
        total, count, part = heapq.heappop(work)
        result[part].append(channel)
        heapq.heappush(work, (total + int(beats[channel]), count + 1, part))
    return [sorted(part) for part in result]


def makespan(beats: Array, parts: int, *, consecutive: bool) -> int:
    """Most beats that a part has."""
    split = assign_filters(beats, parts, consecutive=consecutive)
    return max(int(beats[part].sum()) for part in split)
