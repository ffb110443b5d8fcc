"""Flash images, read back by a reader of their own."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plum_hw.compiler import check_network, compile_network
from plum_hw.controller import ControllerConfig
from plum_hw.errors import BundleError, ConfigError, ImageError
from plum_hw.ir.random import random_network
from plum_hw.soc.flash_image import (
    images_section,
    network_section,
    output_crc,
    runs,
    slot,
    whole_flash,
)
from plum_hw.soc.format import ENTRY, NETWORK, RUN, SLOT, STEP, ZEROS, StepKind
from plum_hw.soc.network_section import run_words
from tests.arrays import SHORT


def unrolled(items: Any) -> list[int]:
    """Places of all bytes of runs, -1 for zeros."""
    places = []
    for length, first, stride in items:
        for i in range(length):
            places.append(-1 if first == ZEROS else first + i * stride)
    return places


def read_run(record: Any) -> list[int]:
    """Places of all bytes of a run as stored; bits 24 and up are zeros behind it."""
    length, first, stride = (int(word) for word in record)
    if first == 0xFFFF_FFFF:
        return [-1] * length
    step = stride - (stride >> 31 << 32)
    return [(first & 0xFF_FFFF) + i * step for i in range(length)] + [-1] * (first >> 24)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-1, 40), max_size=60))
def test_runs_are_the_map(places):
    found = runs(np.array(places, np.int32))
    assert unrolled(found) == places
    words = np.array(run_words(found), np.uint32).reshape(-1, RUN.words)
    assert [place for record in words for place in read_run(record)] == places


@pytest.mark.parametrize("zeros", [1, 254, 255, 700])
def test_zeros_behind_a_run(zeros):
    """What does not fit the word is a run of its own, which a run of zeros is never put behind."""
    items = [(zeros, ZEROS, 0), (3, 0xFF_FFF0, 1), (zeros, ZEROS, 0), (zeros, ZEROS, 0)]
    words = np.array(run_words(items), np.uint32).reshape(-1, RUN.words)
    assert len(words) == (3 if zeros <= 254 else 4)
    places = [place for record in words for place in read_run(record)]
    assert places == [-1] * zeros + [0xFF_FFF0 + i for i in range(3)] + [-1] * 2 * zeros


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(-1, 99), st.integers(-3, 3)), max_size=8))
def test_regular_maps_have_few_runs(pieces):
    places = unrolled([(n, ZEROS if first < 0 else first + 30, step) for n, first, step in pieces])
    found = runs(np.array(places, np.int32))
    assert unrolled(found) == places
    # A piece may lose its first place to the run before, and then one more to a pair.
    assert len(found) <= 3 * len(pieces)


def test_map_of_an_image_is_rows():
    rows = np.full((6, 32), -1)
    rows[:, :28] = np.arange(6 * 28).reshape(6, 28)
    assert runs(rows.reshape(-1)) == [
        item for row in range(6) for item in ((28, 28 * row, 1), (4, ZEROS, 0))
    ]


def read_slot(data: bytes) -> list[tuple[int, str, bytes]]:
    """Kind, name and bytes of each section, all checksums checked."""
    words = np.frombuffer(data, "<u4")
    head = int(words[SLOT.index("HEADER_BYTES")]) // 4
    assert zlib.crc32(data[: 4 * (head - 1)]) == words[head - 1]
    assert words[SLOT.index("TOTAL_BYTES")] == len(data)
    found = []
    for number in range(int(words[SLOT.index("ENTRIES")])):
        entry = words[SLOT.words + number * ENTRY.words :][: ENTRY.words]
        kind, offset, size, crc = (int(word) for word in entry[:4])
        assert zlib.crc32(data[offset : offset + size]) == crc
        name = entry[4:].tobytes().rstrip(b"\0").decode()
        found.append((kind, name, data[offset : offset + size]))
    return found


def field(words, record, name):
    return int(words[record.index(name)])


def test_network_section_holds_what_the_bundle_does(several):
    """Every word that a host would write, in the order in which it would."""
    bundle = several.bundle
    (kind, name, data), *_ = read_slot(several.slot())
    assert kind.to_bytes(4, "little") == b"NETW"
    assert name == bundle.manifest["network"]["name"]
    words = np.frombuffer(data, "<u4")
    assert words[NETWORK.index("ARRAY") :][:4].tobytes().hex() == SHORT.digest
    assert field(words, NETWORK, "CYCLES") == bundle.manifest["predicted_cycles"]
    first = field(words, NETWORK, "STEPS") // 4
    steps = [
        words[first + number * STEP.words :][: STEP.words]
        for number in range(field(words, NETWORK, "STEP_COUNT"))
    ]
    memories: dict[int, dict[int, list[int]]] = {0: {}, 1: {}}
    part = 0
    ((number, offset),) = bundle.steps[0].writes
    assert (offset, bundle.input_place.at, bundle.input_place.margins) == (0, 0, (0, 0, 0, 0))
    sent = np.full(bundle.maps[number].shape, -1)
    for step in steps:
        targets = [c for c in range(SHORT.clusters) if field(step, STEP, "TARGETS") >> c & 1]
        count, place = field(step, STEP, "COUNT"), field(step, STEP, "DATA") // 4
        if step[0] == StepKind.LOAD:
            text = words[place : place + count]
            assert zlib.crc32(text.tobytes()) == field(step, STEP, "CRC")
            for cluster in targets:
                memories[field(step, STEP, "SPACE")][cluster] = text.tolist()
        elif step[0] == StepKind.INPUT:
            assert field(step, STEP, "ADDRESS") == bundle.uses[number].address
            records = words[place : place + RUN.words * count].reshape(count, RUN.words)
            places = [place for record in records for place in read_run(record)]
            for cluster in targets:
                sent[cluster] = places
        elif step[0] == StepKind.RUN:
            assert count == bundle.parts[part]
            for space, memory in ((0, bundle.code), (1, bundle.table)):
                held = [memories[space][cluster] for cluster in range(SHORT.clusters)]
                assert held == [block.tolist() for block in memory[part]]
            part += 1
    assert part == len(bundle.parts)
    assert (sent == bundle.maps[number]).all()
    assert steps[-1][0] == StepKind.RESULTS


def test_single_part_is_loaded_once(alone):
    _, _, data = read_slot(alone.slot())[0]
    words = np.frombuffer(data, "<u4")
    setup, count = field(words, NETWORK, "SETUP_COUNT"), field(words, NETWORK, "STEP_COUNT")
    first = field(words, NETWORK, "STEPS") // 4
    kinds = [int(words[first + number * STEP.words]) for number in range(count)]
    assert set(kinds[:setup]) == {StepKind.LOAD}
    assert StepKind.LOAD not in kinds[setup:]


def test_network_that_needs_a_hosts_memory_is_refused():
    """Its maps are computed piece by piece, and wait outside of the array meanwhile."""
    seed = 300
    while True:
        network = random_network(seed, max_macs=40_000, logits=False)
        if not check_network(network, SHORT):
            bundle = compile_network(network, SHORT)
            if any(step.reads for step in bundle.steps[:-1]):
                break
        seed += 1
    text = f"{bundle.host_bytes:,} bytes of a host's memory .* more act_depth"
    with pytest.raises(BundleError, match=text):
        network_section(bundle)


def test_slot_is_the_same_again(alone):
    assert alone.slot() == alone.slot()
    assert alone.slot(sequence=2) != alone.slot()


def test_checksum_of_outputs_is_of_little_endian_words():
    logits = np.array([1, -2], np.int32)
    assert output_crc(logits) == zlib.crc32(bytes([1, 0, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF]))
    assert output_crc(np.ones((1, 1, 3), np.uint8)) == zlib.crc32(b"\1\1\1\0")


def test_places_of_the_slots():
    controller = ControllerConfig(flash_base=0x2_0000, slot_bytes=0x1_0000)
    flash = whole_flash([b"aaaa", b"bbbb"], controller)
    assert len(flash) == 0x3_0004
    assert flash[0x2_0000:0x2_0008] == b"aaaa\xff\xff\xff\xff"
    assert flash[0x3_0000:] == b"bbbb"
    assert set(flash[:0x2_0000]) == {0xFF}
    assert whole_flash([None, b"bbbb"], controller, from_byte=0x2_0000)[0x1_0000:] == b"bbbb"
    with pytest.raises(ConfigError, match=r"65,540 bytes and there is room for 65,536"):
        whole_flash([bytes(0x1_0004)], controller)


def test_what_cannot_be_a_section(alone):
    with pytest.raises(ImageError, match=r"float64"):
        images_section("images", np.zeros((1, 1, 2, 2)).astype("f8"))
    with pytest.raises(ImageError, match=r"shape \(0, 1, 2, 2\)"):
        images_section("images", np.zeros((0, 1, 2, 2), np.uint8))
    section = network_section(alone.bundle)
    with pytest.raises(ConfigError, match=r"1 to 31 characters"):
        slot([replace(section, name="n" * 32)])
    with pytest.raises(ConfigError, match=r"65 sections"):
        slot([section] * 65)
    with pytest.raises(ConfigError, match=r"number is -1"):
        slot([section], sequence=-1)


@pytest.mark.parametrize(
    ("knobs", "text"),
    [
        ({"clock_hz": 5}, "clock_hz is 5"),
        ({"baud": 50_000_000}, "2 cycles a bit"),
        ({"ram_bytes": 5000}, "power of two"),
        ({"rom_bytes": 2002}, "whole words"),
        ({"slot_bytes": 70_000}, "multiples of 65536"),
        ({"flash_base": 0xF0_0000}, "end behind"),
    ],
)
def test_wrong_knobs_are_named(knobs, text):
    with pytest.raises(ConfigError, match=text):
        ControllerConfig(**knobs)
