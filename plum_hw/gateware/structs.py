"""Amaranth structs from the bit layouts of `plum_hw.layouts`: a width is written once."""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from plum_hw.layouts import Layout


def struct_of(layout: Layout) -> data.StructLayout:
    """The struct whose fields lie where `layout.pack` puts them."""
    return data.StructLayout(
        {
            field.name: signed(field.bits) if field.signed else unsigned(field.bits)
            for field in layout.fields
        }
    )
