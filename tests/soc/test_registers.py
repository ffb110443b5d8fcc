"""The registers' description, and what is generated from it."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from plum_host import registers as accessors
from plum_hw.layouts import Space, identity
from plum_hw.presets import preset
from plum_hw.registers import (
    ACCELERATOR,
    ACCELERATOR_BYTES,
    BLOCKS,
    MEMORIES,
    WINDOW_BYTES,
    WINDOWS,
    Access,
    memory_offset,
)
from plum_hw.soc.export import generated
from plum_hw.soc.firmware import FOLDER


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path):
    assert path.read_text() == generated()[path], "run: python -m plum_hw.soc.export"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_registers_and_fields_do_not_overlap(block):
    offsets = [register.offset for register in block.registers]
    assert len(set(offsets)) == len(offsets)
    assert all(offset % 4 == 0 for offset in offsets)
    assert len({register.name for register in block.registers}) == len(offsets)
    for register in block.registers:
        taken = 0
        for field in register.fields:
            assert not taken & field.mask
            taken |= field.mask
        assert taken >> register.bits == 0


def test_blocks_and_windows_do_not_overlap():
    ranges = [(window.base, window.bytes) for window in WINDOWS]
    ranges += [
        (block.base, ACCELERATOR_BYTES if block is ACCELERATOR else 0x100) for block in BLOCKS
    ]
    ranges.sort()
    assert all(base + size <= following for (base, size), (following, _) in pairwise(ranges))
    for block in BLOCKS:
        last = max(register.offset for register in block.registers)
        assert last < (MEMORIES if block is ACCELERATOR else 0x100)


def test_every_space_holds_the_largest_memory():
    for space in Space:
        assert memory_offset(space) + WINDOW_BYTES <= ACCELERATOR_BYTES
    assert WINDOW_BYTES >= 8 * (1 << 16)


def test_identity_is_where_the_driver_reads_it():
    text = (FOLDER / "include" / "plum_regs.h").read_text()
    found = re.search(r"#define PLUM_IDENTITY_DIGEST (\d+)u", text)
    assert found is not None
    at = int(found[1])
    # Whole words, the low half of one of eight bytes first.
    assert at % 8 == 0
    assert identity(preset("tiny"))[at : at + 16].hex() == preset("tiny").digest


class Words:
    """A bus that remembers."""

    def __init__(self):
        self.words = {}

    def read(self, address):
        return self.words.get(address, 0)

    def write(self, address, value):
        self.words[address] = value


def test_accessors_reach_their_registers():
    for block in BLOCKS:
        bus = Words()
        device = getattr(accessors, block.name.title())(bus)
        for number, register in enumerate(block.registers):
            name, place = register.name.lower(), block.base + register.offset
            if register.access is Access.WRITE:
                getattr(device, f"set_{name}")(number + 1)
                assert bus.words[place] == number + 1
                continue
            if register.access is not Access.READ:
                setattr(device, name, number + 1)
                assert bus.words[place] == number + 1
            bus.words[place] = 0xA5C3_96E1
            assert getattr(device, name) == 0xA5C3_96E1
            for field in register.fields:
                value = getattr(device, f"{name}_{field.name.lower()}")
                assert value == (0xA5C3_96E1 & field.mask) >> field.low


def test_header_and_accessors_agree():
    text = (FOLDER / "include" / "plum_regs.h").read_text()
    offsets = {
        name: int(value, 16)
        for name, value in re.findall(r"#define PLUM_MEMORY_(\w+) (0x[0-9a-f]+)u", text)
    }
    assert offsets == accessors.MEMORY
