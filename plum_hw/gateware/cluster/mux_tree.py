"""Multiplexers as trees of pairs, which every FPGA's LUTs take as they are."""

from collections.abc import Sequence

from amaranth.hdl import Mux, Value


def mux_tree(select: Value, choices: Sequence[Value]) -> Value:
    """`choices[select]`; what follows the last choice is never selected."""
    if len(choices) == 1:
        return choices[0]
    pairs = [
        Mux(select[0], *reversed(choices[at : at + 2])) if at + 1 < len(choices) else choices[at]
        for at in range(0, len(choices), 2)
    ]
    return mux_tree(select[1:], pairs)
