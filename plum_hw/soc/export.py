"""`python -m plum_hw.soc.export`: writes what is generated from the registers' description.

The C headers, the Python accessors and the documentation's table. A test makes them again and
compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from plum_host.protocol import IDENTITY, LAYER_COUNTERS, Counter, field_at
from plum_hw import registers as regs
from plum_hw.layouts import WRITE_ONLY_SPACES, Space
from plum_hw.registers import Access, Block
from plum_hw.soc import format as image

ROOT = Path(__file__).resolve().parents[2]
#: Those of the link itself are not in the map.
_SPACES = [space for space in Space if space not in WRITE_ONLY_SPACES]
_NOTE = "Written by python -m plum_hw.soc.export from plum_hw/{}; do not edit."
_ACCESS = {
    Access.READ: "read",
    Access.READ_TAKES: "read takes, write sends",
    Access.WRITE: "write",
    Access.BOTH: "read, write",
    Access.CLEAR: "read, 1 clears",
}


def _header(guard: str, source: str, lines: list[str]) -> str:
    note = f"/* {_NOTE.format(source)} */"
    return "\n".join([note, f"#ifndef {guard}", f"#define {guard}", "", *lines, "", "#endif", ""])


def _define(name: str, value: int, text: str = "", *, digits: int = 0) -> str:
    number = f"0x{value:0{digits}x}u" if digits else f"{value}u"
    line = f"#define {name} {number}"
    return f"{line} /* {text} */" if text else line


def register_header() -> str:
    """firmware/include/plum_regs.h."""
    lines = [
        _define("PLUM_MAP_VERSION", regs.MAP_VERSION, "of this register map"),
        _define("PLUM_ID", regs.ID, digits=8),
    ]
    for block in regs.BLOCKS:
        lines += ["", f"/* {block.text} */"]
        prefix = f"PLUM_{block.name}"
        lines.append(_define(f"{prefix}_BASE", block.base, "on the controller's bus", digits=8))
        for register in block.registers:
            name = f"{prefix}_{register.name}"
            lines.append(_define(name, register.offset, register.text, digits=2))
            for field in register.fields:
                lines.append(_define(f"{name}_{field.name}", field.mask, field.text, digits=1))
                if field.low:
                    lines.append(_define(f"{name}_{field.name}_SHIFT", field.low))
    lines += ["", "/* Memories, by their offset from the accelerator's base. */"]
    for space in _SPACES:
        lines.append(_define(f"PLUM_MEMORY_{space.name}", regs.memory_offset(space), digits=8))
    for name, _ in IDENTITY:
        byte, size = field_at(IDENTITY, name)
        lines.append(_define(f"PLUM_IDENTITY_{name.upper()}", byte, f"its byte; {size} bytes"))
    lines += [_define(f"PLUM_SPACE_{space.name}", int(space)) for space in _SPACES]
    lines += ["", "/* Words of PLUM_MEMORY_COUNTER. */"]
    lines += [_define(f"PLUM_COUNTER_{counter.name}", int(counter)) for counter in Counter]
    lines.append(_define("PLUM_COUNTER_LAYERS", LAYER_COUNTERS, "first of the layers' cycles"))
    lines += ["", "/* Memories on the controller's bus. */"]
    for window in regs.WINDOWS:
        name = f"PLUM_{window.name}"
        lines.append(_define(f"{name}_BASE", window.base, window.text, digits=8))
        lines.append(_define(f"{name}_BYTES", window.bytes, digits=8))
    lines += ["", _define("PLUM_FIRST_INTERRUPT", regs.FIRST_INTERRUPT, "bit of `waitirq`")]
    return _header("PLUM_REGS_H", "registers.py", lines)


def format_header() -> str:
    """firmware/include/plum_format.h."""
    lines = [
        _define("PLUM_FORMAT_VERSION", image.FORMAT_VERSION),
        _define("PLUM_MAX_ENTRIES", image.MAX_ENTRIES),
        _define("PLUM_MAX_HEADER_BYTES", image.MAX_HEADER_BYTES),
        _define("PLUM_NAME_BYTES", image.NAME_BYTES),
        _define("PLUM_ZEROS", image.ZEROS, digits=8),
        _define("PLUM_PLACE_BITS", image.PLACE_BITS),
        _define("PLUM_SLOT_MAGIC", image.SLOT_MAGIC, digits=8),
        _define("PLUM_NETWORK_MAGIC", image.NETWORK_MAGIC, digits=8),
        _define("PLUM_IMAGES_MAGIC", image.IMAGES_MAGIC, digits=8),
        "",
    ]
    lines += [_define(f"PLUM_KIND_{kind.name}", int(kind), digits=8) for kind in image.Section]
    lines += [_define(f"PLUM_OUTPUT_{kind.name}", int(kind)) for kind in image.Output]
    lines += [_define(f"PLUM_STEP_{kind.name}", int(kind)) for kind in image.StepKind]
    for record in image.RECORDS:
        lines += ["", f"/* {record.text} By index of the word. */"]
        for name, _, text in record.fields:
            lines.append(_define(f"PLUM_{record.name}__{name}", record.index(name), text))
        lines.append(_define(f"PLUM_{record.name}__WORDS", record.words))
    return _header("PLUM_FORMAT_H", "soc/format.py", lines)


def _hex(value: int) -> str:
    """As ruff writes it."""
    return f"0x{value:08X}"


def _class(block: Block) -> Iterator[str]:
    yield f"class {block.name.title()}:"
    yield f'    """{block.text}'
    yield ""
    yield "    *Parameters*: ``bus``, what reads and writes; ``base``, the block's address on it."
    yield '    """'
    yield ""
    yield f"    def __init__(self, bus: Bus, base: int = {_hex(block.base)}) -> None:"
    yield "        self._bus = bus"
    yield "        self._base = base"
    for register in block.registers:
        name, place = register.name.lower(), f"self._base + 0x{register.offset:02X}"
        if register.access is not Access.WRITE:
            yield ""
            yield "    @property"
            yield f"    def {name}(self) -> int:"
            yield f'        """{register.text}"""'
            yield f"        return self._bus.read({place})"
        if register.access is not Access.READ:
            yield ""
            if register.access is Access.WRITE:
                yield f"    def set_{name}(self, value: int) -> None:"
                yield f'        """{register.text}"""'
            else:
                yield f"    @{name}.setter"
                yield f"    def {name}(self, value: int) -> None:"
            yield f"        self._bus.write({place}, value)"
        for field in register.fields:
            if register.access is Access.WRITE:
                continue
            yield ""
            yield "    @property"
            yield f"    def {name}_{field.name.lower()}(self) -> int:"
            yield f'        """{field.text[0].upper()}{field.text[1:]}."""'
            yield f"        return self.{name} >> {field.low} & 0x{(1 << field.bits) - 1:X}"


def accessors() -> str:
    """host/plum_host/registers.py."""
    lines = [
        '"""Registers by name, over what reads and writes words: `/dev/mem`, a debugger, a bench.',
        "",
        _NOTE.format("registers.py"),
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Protocol",
        "",
        f"MAP_VERSION = {regs.MAP_VERSION}",
        f"ID = {_hex(regs.ID)}",
        "#: Memories, by their offset from the accelerator's base.",
        "MEMORY = {",
        *(f'    "{space.name}": {regs.memory_offset(space):#x},' for space in _SPACES),
        "}",
        "",
        "",
        "class Bus(Protocol):",
        '    """Access to 32-bit words."""',
        "",
        "    def read(self, address: int) -> int:",
        '        """The word at a byte address."""',
        "",
        "    def write(self, address: int, value: int) -> None:",
        '        """Write the word at a byte address."""',
    ]
    for block in regs.BLOCKS:
        lines += ["", "", *_class(block)]
    return "\n".join([*lines, ""])


def register_page() -> str:
    """docs/registers.md."""
    lines = [
        "# Registers",
        "",
        f"<!-- {_NOTE.format('registers.py')} -->",
        "",
        "Of the accelerator, as a driver sees it on any bus, and of the controller of `plum build",
        "--soc` ([firmware.md](firmware.md)). All are 32-bit words; offsets are in bytes.",
    ]
    for block in regs.BLOCKS:
        lines += [
            "",
            f"## {block.name} at `{block.base:#010x}`",
            "",
            block.text,
            "",
            "| offset | register | access | |",
            "|---|---|---|---|",
        ]
        for register in block.registers:
            text = register.text
            for field in register.fields:
                high = field.low + field.bits - 1
                bits = f"{field.low}" if high == field.low else f"{field.low} to {high}"
                text += f"<br>bit {bits} {field.name}: {field.text}"
            access = _ACCESS[register.access]
            lines.append(f"| `{register.offset:#04x}` | {register.name} | {access} | {text} |")
    lines += [
        "",
        "## Memories of the accelerator",
        "",
        "Only while no run is in progress, but for IDENTITY; offsets from the accelerator's base.",
        "Words of ACTIVATION and IDENTITY have 8 bytes, the low half first: a write takes effect",
        "with the high half, a read of the low half keeps the high one for the read that follows.",
        "",
        "| offset | memory |",
        "|---|---|",
        *(f"| `{regs.memory_offset(space):#x}` | {space.name} |" for space in _SPACES),
        "",
        "IDENTITY is what the device is: [protocol.md](protocol.md).",
        "",
        "## Memories of the controller",
        "",
        "| address | bytes | memory |",
        "|---|---|---|",
        *(
            f"| `{window.base:#010x}` | {window.bytes:,} | {window.name}: {window.text} |"
            for window in regs.WINDOWS
        ),
        "",
    ]
    return "\n".join(lines)


def generated() -> dict[Path, str]:
    """Every generated file of the checkout, and what must stand in it."""
    return {
        ROOT / "firmware" / "include" / "plum_regs.h": register_header(),
        ROOT / "firmware" / "include" / "plum_format.h": format_header(),
        ROOT / "host" / "plum_host" / "registers.py": accessors(),
        ROOT / "docs" / "registers.md": register_page(),
    }


def main() -> None:
    """Write them all."""
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
