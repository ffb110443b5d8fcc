"""Static timing: how long paths take, and what each wire has to spare."""

from __future__ import annotations

import numpy as np

from plum_hw.flow.anneal.state import State, jit


@jit
def arrivals(
    s: State,
    source: np.ndarray,
    sink: np.ndarray,
    inside: np.ndarray,
    arc_net: np.ndarray,
    edge_arc: np.ndarray,
    edge_net: np.ndarray,
    edge_ns: np.ndarray,
    end_arc: np.ndarray,
    end_ns: np.ndarray,
    start_ns: np.ndarray,
    period: float,
    slack: np.ndarray,
) -> float:
    """Static timing: the longest path in ns, and the slack of each arc to `period` into `slack`.

    Edges are in an order in which what drives a net comes before what it drives.
    """
    arrive = start_ns.copy()
    wire = np.empty(len(inside))
    for arc in range(len(inside)):
        a, b = source[arc], sink[arc]
        far = abs(s.xy[a, 0] - s.xy[b, 0]) + abs(s.xy[a, 1] - s.xy[b, 1])
        wire[arc] = 0.0 if inside[arc] else s.wire_ns[far]
    for e in range(len(edge_arc)):
        arc = edge_arc[e]
        t = arrive[arc_net[arc]] + wire[arc] + edge_ns[e]
        arrive[edge_net[e]] = max(arrive[edge_net[e]], t)
    longest = 0.0
    needed = np.full(len(arrive), np.inf)
    slack[:] = np.inf
    for i in range(len(end_arc)):
        arc = end_arc[i]
        net = arc_net[arc]
        t = arrive[net] + wire[arc] + end_ns[i]
        longest = max(longest, t)
        slack[arc] = min(slack[arc], period - t)
        needed[net] = min(needed[net], period - wire[arc] - end_ns[i])
    for e in range(len(edge_arc) - 1, -1, -1):
        arc = edge_arc[e]
        net = arc_net[arc]
        at_pin = needed[edge_net[e]] - edge_ns[e]
        slack[arc] = min(slack[arc], at_pin - wire[arc] - arrive[net])
        needed[net] = min(needed[net], at_pin - wire[arc])
    return longest


@jit
def order(edge_arc: np.ndarray, edge_net: np.ndarray, arc_net: np.ndarray, nets: int) -> np.ndarray:
    """Edges in an order in which all into a net come before all out of it.

    Edges of a loop, and what comes after it, are left out.
    """
    waiting = np.zeros(nets, np.int32)
    first = np.zeros(nets + 1, np.int32)
    for e in range(len(edge_arc)):
        waiting[edge_net[e]] += 1
        first[arc_net[edge_arc[e]] + 1] += 1
    for net in range(nets):
        first[net + 1] += first[net]
    out = np.empty(len(edge_arc), np.int32)
    fill = first.copy()
    for e in range(len(edge_arc)):
        net = arc_net[edge_arc[e]]
        out[fill[net]] = e
        fill[net] += 1
    ordered = np.empty(len(edge_arc), np.int32)
    queue = np.empty(nets, np.int32)
    head = tail = done = 0
    for net in range(nets):
        if waiting[net] == 0:
            queue[tail] = net
            tail += 1
    while head < tail:
        net = queue[head]
        head += 1
        for i in range(first[net], first[net + 1]):
            e = out[i]
            ordered[done] = e
            done += 1
            waiting[edge_net[e]] -= 1
            if waiting[edge_net[e]] == 0:
                queue[tail] = edge_net[e]
                tail += 1
    return ordered[:done]
