"""Verilog of gateware, with modules that are used several times written once.

Amaranth writes a module for every instance of a component, so tools would compile and map the text
of a cluster as often as there are clusters. So a cluster is a Verilog module of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, ClockSignal, Instance, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

_HUGE = 'ram_style = "huge"'
#: The declaration of such a memory, and the block that follows it.
_ZEROS = re.compile(
    r'(\(\* ram_style = "huge" \*\)\n(?:  \(\*[^\n]*\n)*  reg [^\n]*;\n)  initial begin\n'
    r"(?:    \S+ = \d+'[dh]0+;\n)*  end\n"
)


class _Files:
    """Takes the place of a platform: collects the files that a design adds to itself."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def add_file(self, name: str, text: str) -> None:
        """One more file, or the same again."""
        assert self.texts.setdefault(name, text) == text, f"two different files {name}"


def to_verilog(component: wiring.Component, name: str, **options: Any) -> str:
    """Verilog of a component and of the modules that it uses, the same text from run to run.

    options : of `amaranth.back.verilog.convert`
    """
    files = _Files()
    top = verilog.convert(component, name=name, platform=files, emit_src=False, **options)
    return "".join([top, *files.texts.values()])


def add_module(platform: Any, name: str, component: wiring.Component) -> None:
    """Add a component to a design's files as a Verilog module of its own, without a reset.

    Its registers begin with their initial values, and come to rest by its inputs alone. A reset
    for some thousand registers of each of many clusters would be the longest wire of an array.
    """
    m = Module()
    m.domains.sync = domain = ClockDomain(reset_less=True)
    m.submodules.body = component
    ports = {"clk": (domain.clk, None)}
    ports |= {port: (value, None) for port, _, value in _ports(component)}
    text = verilog.convert(m, name=name, ports=ports, emit_src=False)
    platform.add_file(f"{name}.v", without_zeros(text))


def without_zeros(text: str) -> str:
    """Verilog whose memories with the attribute `ram_style` "huge" have no initial values, for no
    FPGA has such memories with any.
    """
    marked = text.count(_HUGE)
    text, found = _ZEROS.subn(r"\1", text)
    assert found == marked, f"{found} of {marked} memories without initial values"
    return text


def module_instance(name: str, interface: Any) -> Instance:
    """An instance of such a module.

    interface : of the component's signature; what the instance is connected to
    """
    ports: dict[str, Any] = {"i_clk": ClockSignal()}
    for port, direction, value in _ports(interface):
        ports[f"{direction}_{port}"] = value
    return Instance(name, **ports)


def _ports(interface: Any) -> Iterator[tuple[str, str, Value]]:
    """Name, direction (i or o) and value of each port."""
    for path, member, value in interface.signature.flatten(interface):
        yield "__".join(map(str, path)), "i" if member.flow == In else "o", Value.cast(value)
