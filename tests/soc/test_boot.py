"""The firmware image on the simulated board: processor, array, flash and serial line."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from plum_host.session import Session
from plum_hw.layouts import layer_layout
from plum_hw.presets import preset
from plum_hw.soc.boot import SocImage
from plum_hw.soc.flash_image import output_crc, slot
from plum_hw.soc.format import NETWORK, STEP, StepKind
from plum_hw.soc.simulator import SIMULATED, SimulatedSoc
from tests.arrays import SHORT
from tests.soc.work import board, make_work


def images_of(lines):
    return [image for line in lines if (image := SocImage.parse(line)) is not None]


def check_images(lines, work, *, logits=True):
    """Every image as golden has it, in order."""
    found = images_of(lines)
    assert [image.image for image in found] == list(range(len(work.images)))
    assert [image.crc for image in found] == [output_crc(output) for output in work.outputs]
    assert [image.cycles for image in found] == work.cycles.tolist()
    if logits:
        assert [image.output for image in found] == work.outputs.argmax(axis=1).tolist()


def resealed_network(data: bytes, change: Callable[[Any], None]) -> bytes:
    """A slot whose network section was changed, all its checksums right again.

    change : called with the words of the section
    """
    words = np.frombuffer(data, "<u4").copy()
    entry, first = 6, int(words[7]) // 4  # SLOT's words; ENTRY.OFFSET
    count = int(words[8]) // 4
    network = words[first : first + count]
    change(network)
    steps = int(network[NETWORK.index("STEPS")]) // 4
    for number in range(int(network[NETWORK.index("STEP_COUNT")])):
        step = network[steps + number * STEP.words :][: STEP.words]
        if step[STEP.index("KIND")] == StepKind.LOAD:
            place, length = int(step[STEP.index("DATA")]) // 4, int(step[STEP.index("COUNT")])
            step[STEP.index("CRC")] = zlib.crc32(network[place : place + length].tobytes())
    last = int(network[2]) // 4 - 1
    network[last] = zlib.crc32(network[:last].tobytes())
    words[entry + 3] = zlib.crc32(network.tobytes())
    head = int(words[2]) // 4 - 1
    words[head] = zlib.crc32(words[:head].tobytes())
    return words.tobytes()


def endless(network: Any) -> None:
    """All bits of the first layer's descriptor: it keeps the array at work for very long."""
    steps = int(network[NETWORK.index("STEPS")]) // 4
    code = int(network[steps + STEP.index("DATA")]) // 4
    network[code : code + layer_layout(SHORT).words] = 0xFFFFFFFF


def alive(soc: SimulatedSoc) -> None:
    """The monitor answers, and the processor has not stopped."""
    assert soc.command("info")[0].startswith(f"array {SHORT.digest}, clusters 3")


# --- what goes right


def test_parts_on_three_clusters_equal_golden_cycle_by_cycle(firmware, several):
    assert len(several.bundle.parts) > 1
    with board(firmware, several.slot()) as soc:
        lines = soc.lines()
        check_images(lines, several)
        assert all(image.as_expected for image in images_of(lines))
        count = len(several.images)
        assert f"images {count}, right {count}, as expected {count}, failed 0" in lines
    # Seen from outside, the array is busy for as long as the host's session counts ...
    parts = len(several.bundle.parts)
    runs = soc.events.runs
    assert len(runs) == parts * count
    for number, cycles in enumerate(several.cycles):
        assert sum(run.cycles for run in runs[parts * number :][:parts]) == cycles
    # ... and the processor sleeps meanwhile: what it fetches does not grow with the run.
    assert max(run.fetches for run in runs) < 200
    assert soc.events.leds[-1][0] == images_of(lines)[-1].output % 16
    assert soc.events.trapped is None


def test_cycles_are_those_of_the_link_on_the_same_gateware(firmware, alone):
    with Session.open("virtual", alone.bundle.manifest["config"]) as session:
        session.load(alone.bundle)
        linked = session.run(alone.images)
        layers = session.layer_cycles()
    with board(firmware, alone.slot()) as soc:
        lines = soc.lines()
        counted = soc.command("counters")
    assert [image.cycles for image in images_of(lines)] == linked.cycles.tolist()
    assert [run.cycles for run in soc.events.runs] == linked.cycles.tolist()
    said = [int(line.split()[-1]) for line in counted if line.startswith("layer ")]
    assert said == layers


def test_maps_equal_golden(firmware, mapped):
    with board(firmware, mapped.slot()) as soc:
        check_images(soc.lines(), mapped, logits=False)


def test_newer_slot_is_booted_whichever_it_is(firmware, alone, several):
    old, new = alone.slot(sequence=7), several.slot(sequence=8)
    for slots in ((old, new), (new, old)):
        with board(firmware, *slots) as soc:
            check_images(soc.lines(), several)


def test_broken_update_falls_back(firmware, alone, several):
    """Whatever is broken of the newer slot: its header, its directory, its network, its weights."""
    good, update = alone.slot(sequence=1), several.slot(sequence=2)
    for place, error in ((0, "NO_SLOT"), (20, "BAD_CHECKSUM"), (200, "BAD_CHECKSUM")):
        broken = bytearray(update)
        broken[place] ^= 0x40
        with board(firmware, good, bytes(broken)) as soc:
            lines = soc.lines()
            assert any(line.startswith("slot 1: ") and error in line for line in lines), lines
            check_images(lines, alone)
    words = bytearray(alone.slot(sequence=2))
    offset, size = struct.unpack_from("<2I", words, 28)
    words[offset + size - 1] ^= 1  # the last word of a table
    with board(firmware, good, bytes(words)) as soc:
        lines = soc.lines()
        assert "slot 1: error BAD_CHECKSUM: damaged: wrong checksum" in lines
        check_images(lines, alone)


# --- what goes wrong: an error over the line, and a monitor that lives


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, bytes(range(256)) * 64])
def test_flash_without_a_slot(firmware, content):
    with board(firmware, content or None) as soc:
        lines = soc.lines()
        assert "slot 0: NO_SLOT: no flash image here" in lines
        assert "nothing to run: error NO_SLOT: no flash image here" in lines
        assert soc.command("run") == ["error NOT_LOADED: no network is loaded"]
        alive(soc)
    assert soc.events.leds[0][0] == 15


def test_slot_without_a_network(firmware, alone):
    with board(firmware, slot([])) as soc:
        assert "slot 0: error NOT_FOUND: the flash image has no such section" in soc.lines()
        alive(soc)


def test_damaged_network(firmware, alone):
    broken = bytearray(alone.slot())
    offset, size = struct.unpack_from("<2I", broken, 28)
    broken[offset + size // 2] ^= 0x80
    with board(firmware, bytes(broken)) as soc:
        assert "slot 0: error BAD_CHECKSUM: damaged: wrong checksum" in soc.lines()
        assert soc.command("verify")[0] == "slot 0: error BAD_CHECKSUM: damaged: wrong checksum"
        alive(soc)


def test_network_for_another_array(firmware):
    other = make_work(400, parts=False, max_layers=2, logits=True, config=preset("tiny"))
    with board(firmware, other.slot()) as soc:
        said = "slot 0: error WRONG_ARRAY: the network was compiled for another array"
        assert said in soc.lines()
        assert soc.command("load 0") == [said]
        alive(soc)


def test_run_that_does_not_end(firmware, alone):
    broken = resealed_network(alone.slot(), endless)
    with board(firmware, broken) as soc:
        lines = soc.lines()
        count = len(alone.images)
        said = "TIMEOUT: the run did not end in time and was aborted"
        assert [line for line in lines if said in line] == [
            f"image {number}: error {said}" for number in range(count)
        ]
        assert f"images 0, right 0, as expected 0, failed {count}" in lines
        alive(soc)
    limit = 2 * alone.bundle.manifest["predicted_cycles"] + 100_000
    assert all(limit < run.cycles < limit + 5_000 for run in soc.events.runs)


def test_damaged_image_is_left_out(firmware, alone):
    broken = bytearray(alone.slot())
    pitch = -(-alone.images[0].size // 4) * 4
    broken[len(broken) - 2 * pitch] ^= 1  # the last but one
    with board(firmware, bytes(broken)) as soc:
        lines = soc.lines()
        count = len(alone.images)
        bad = count - 2
        assert f"image {bad}: error BAD_CHECKSUM: damaged: wrong checksum" in lines
        assert [image.image for image in images_of(lines)] == [
            number for number in range(count) if number != bad
        ]
        alive(soc)


def test_output_that_differs_is_told(firmware, alone):
    """What makes a self-test able to fail: the expected checksum of an image is another one."""
    wrong = alone.outputs.copy()
    wrong[1, 0] += 1
    work = type(alone)(alone.bundle, alone.images, wrong, alone.cycles)
    with board(firmware, work.slot()) as soc:
        assert [image.as_expected for image in images_of(soc.lines())] == [True, False, True]
        assert soc.command("selftest")[-1] == "selftest FAILED: 2 of 3 as expected"


# --- the monitor


def test_monitor_alone(monitor_firmware, alone):
    with board(monitor_firmware, alone.slot()) as soc:
        lines = soc.lines()
        assert lines[1] == "plum_hw monitor"
        assert not images_of(lines)
        assert soc.command("selftest") == ["error NOT_LOADED: no network is loaded"]
        assert soc.command("load")[0].startswith("slot 1: NO_SLOT")
        check_images(soc.command("run"), alone)
        assert [image.image for image in images_of(soc.command("run 2"))] == [2]
        assert [image.image for image in images_of(soc.command("run 1 2"))] == [1, 2]
        assert soc.command("selftest")[-1] == "selftest passed: 3 of 3 as expected"
        assert soc.command("verify") == [
            "slot 0: good",
            "slot 1: error NO_SLOT: no flash image here",
        ]
        soc.send(b"hello\x7f\x7flp\r")
        assert soc.lines()[0] == "hello\b \b\b \blp"


def test_monitor_says_what_is_wrong_with_a_command(firmware, alone):
    with board(firmware, alone.slot()) as soc:
        soc.lines()
        for text, answer in (
            ("hallo", "error: no command hallo; try help"),
            ("run x", "error: x is no number that fits here; try help"),
            ("run 99999999999", "error: 99999999999 is no number that fits here; try help"),
            ("run 3", "error NOT_FOUND: the flash image has no such section"),
            ("load 2", "error NO_SLOT: no flash image here"),
            ("load 1", "slot 1: error NO_SLOT: no flash image here"),
            (
                "update 2 4",
                f"error: update SLOT BYTES; there are 2 slots of {SIMULATED.slot_bytes} bytes",
            ),
        ):
            assert soc.command(text)[-1] == answer
        # What failed to load is not loaded.
        assert soc.command("run 0") == ["error NOT_LOADED: no network is loaded"]
        names = [line.split(":")[0].split()[0] for line in soc.command("help")]
        assert {"info", "load", "run", "counters", "selftest", "memtest"} <= set(names)


def test_memory_test_covers_every_cluster(firmware, alone):
    with board(firmware, alone.slot()) as soc:
        soc.lines()
        said = soc.command("memtest")
        assert said[:-1] == [
            f"cluster {cluster} {name}: good"
            for cluster in range(3)
            for name in ("code", "table", "activation")
        ]
        assert soc.command("run 0") == ["error NOT_LOADED: no network is loaded"]
        soc.command("load")
        check_images(soc.command("run"), alone)


def test_image_over_the_line(firmware, alone):
    """An image that is not in the flash; then a damaged one, and one that breaks off."""
    image = (alone.images[0] ^ 1) & 1
    data = image.tobytes() + bytes(-image.size % 4)
    with Session.open("golden", alone.bundle.manifest["config"]) as session:
        session.load(alone.bundle)
        golden = session.run(image[None])
    with board(firmware, alone.slot()) as soc:
        soc.lines()
        soc.send(b"image\r")
        assert soc.line() == "image"
        assert soc.line() == f"send {len(data)} bytes and CRC-32"
        soc.send(data + struct.pack("<I", zlib.crc32(data)))
        found = SocImage.parse(f"image 0: {soc.lines()[0]}")
        assert found is not None
        assert found.crc == output_crc(golden.outputs[0])
        assert found.cycles == golden.cycles[0]
        soc.send(b"image\r")
        soc.line(), soc.line()
        soc.send(data + struct.pack("<I", zlib.crc32(data) ^ 1))
        assert soc.lines() == ["error BAD_CHECKSUM: damaged: wrong checksum"]
        alive(soc)


def test_button_classifies_the_next_image(firmware, alone):
    with board(firmware, alone.slot()) as soc:
        check_images(soc.lines(), alone)
        for number in (0, 1, 2, 0):
            soc.press(1)
            soc.line()  # ends the prompt's
            found = images_of(soc.lines())
            assert [image.image for image in found] == [number]
            soc.press(0)
            soc.command("help")  # long enough for the button to be seen up


def test_update_over_the_line_and_reboot(firmware, alone, several):
    """The other slot is written page by page, the first one last, and booted from then on."""
    update = several.slot(sequence=2)
    pages = [update[i : i + 256].ljust(256, b"\xff") for i in range(0, len(update), 256)]
    with board(firmware, alone.slot(sequence=1)) as soc:
        check_images(soc.lines(), alone)
        soc.send(f"update 1 {len(update)}\r".encode())
        soc.line()
        for number in [*range(1, len(pages)), 0]:
            assert soc.line() == f"send page {number}"
            soc.send(pages[number] + struct.pack("<I", zlib.crc32(pages[number])))
        assert soc.lines() == ["slot 1 written"]
        assert soc.command("verify") == ["slot 0: good", "slot 1: good"]
        soc.send(b"reboot\r")
        soc.line()
        check_images(soc.lines(), several)
    at = SIMULATED.flash_base + SIMULATED.slot_bytes
    assert soc.flash[at : at + len(update)] == update


def test_update_that_breaks_off_leaves_the_old_slot(firmware, alone, several):
    update = several.slot(sequence=2)
    page = update[256:512].ljust(256, b"\xff")
    with board(firmware, alone.slot(sequence=1)) as soc:
        soc.lines()
        soc.send(f"update 1 {len(update)}\r".encode())
        soc.line(), soc.line()
        soc.send(page + struct.pack("<I", zlib.crc32(page)))
        assert soc.line() == "send page 2"
        soc.send(page + struct.pack("<I", ~zlib.crc32(page) & 0xFFFFFFFF))
        assert soc.lines() == ["error BAD_CHECKSUM: damaged: wrong checksum"]
        soc.send(b"reboot\r")
        soc.line()
        lines = soc.lines()
        assert "slot 1: NO_SLOT: no flash image here" in lines
        check_images(lines, alone)
