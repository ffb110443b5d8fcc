"""Where the clusters of an array are to lie, roughly: each in a rectangle of its own."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np

from plum_hw.flow.anneal.device import Part
from plum_hw.flow.anneal.netlist import Netlist

#: How the netlist names a cell of a cluster.
CLUSTER = re.compile(r"(?:^|\.)cluster_(\d+)\.")


def groups(netlist: Netlist) -> np.ndarray:
    """(cells,) int32; the cluster of each cell, -1 where it has none.

    A cell that the tools have named goes where most of what it is wired to is.
    """
    group = np.full(len(netlist.names), -2, np.int32)
    for i, name in enumerate(netlist.names):
        found = CLUSTER.search(name)
        if found:
            group[i] = int(found[1])
        elif not name.startswith("$"):
            group[i] = -1
    wires = defaultdict(list)
    for a, b in zip(netlist.source.tolist(), netlist.sink.tolist(), strict=True):
        if group[a] == -2:
            wires[a].append(b)
        if group[b] == -2:
            wires[b].append(a)
    for _ in range(8):
        for cell in np.nonzero(group == -2)[0].tolist():
            votes = Counter(int(group[other]) for other in wires[cell] if group[other] != -2)
            if votes:
                group[cell] = votes.most_common(1)[0][0]
    group[group == -2] = -1
    return group


def centres(part: Part, count: int) -> np.ndarray:
    """(count, 2): middles of equal rectangles that share the part, in rows."""
    height, width = part.logic.shape
    rows = max(1, round((count * height / width) ** 0.5))
    out = []
    top = 0.0
    for row in range(rows):
        columns = count // rows + (row < count % rows)
        tall = height * columns / count
        out += [((i + 0.5) * width / columns, top + tall / 2) for i in range(columns)]
        top += tall
    return np.array(out).reshape(-1, 2)
