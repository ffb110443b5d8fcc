"""`plum flash-image` and `plum simulate-soc`, as a user has them."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from plum_hw.soc.format import SLOT
from tests.cli.command import Done, call
from tests.soc.work import Work


def plum(*arguments: object) -> Done:
    return call("plum_hw", *arguments, env=dict(os.environ))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, alone: Work) -> Path:
    folder = tmp_path_factory.mktemp("soc")
    alone.bundle.save(folder / "net.plum")
    labels = alone.outputs.argmax(axis=1)
    np.savez(folder / "images.npz", images=alone.images, labels=labels)
    return folder


def test_shipped_network_boots_and_classifies_shipped_images():
    done = plum("simulate-soc", "--limit", 2, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["good"]
    assert report["array"] == "single"
    assert report["firmware"]["text"] <= 16384
    assert report["errors"] == []
    assert 0 < report["boot_cycles"] < report["simulated_cycles"]
    images = report["images"]
    assert [image["image"] for image in images] == [0, 1]
    assert all(image["as_expected"] for image in images)
    assert all(image["cycles"] == report["predicted_cycles"] for image in images)
    # The first two of the shipped images: an ankle boot and a pullover.
    assert [image["name"] for image in images] == ["Ankle boot", "Pullover"]
    assert [image["label"] for image in images] == [9, 2]


def test_flash_image_of_both_slots(folder):
    target = folder / "both.flash"
    done = plum(
        "flash-image", folder / "net.plum", "--images", folder / "images.npz", "-o", target,
        "--limit", 2, "--slot-bytes", "0x20000", "--sequence", 9, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    data = target.read_bytes()
    assert report["bytes"] == len(data)
    assert [part["kind"] for part in report["sections"]] == ["network", "images"]
    used = report["slot_used_bytes"]
    assert data[:used] == data[0x20000 : 0x20000 + used]
    assert set(data[used:0x20000]) == {0xFF}
    words = np.frombuffer(data[: 4 * SLOT.words], "<u4")
    assert words[SLOT.index("SEQUENCE")] == 9
    head = int(words[SLOT.index("HEADER_BYTES")])
    assert zlib.crc32(data[: head - 4]) == int.from_bytes(data[head - 4 : head], "little")


def test_flash_image_of_one_slot_says_where_it_belongs(folder):
    done = plum("flash-image", folder / "net.plum", "--slot", 1)
    assert done.returncode == 0, done.stderr
    assert "for byte 0x800000 of the flash (slot 1)" in done.stdout
    assert (folder / "net.flash").exists()


def test_simulation_of_a_flash_without_a_slot(folder):
    """The firmware's own error is the last word, and the exit code says that nothing ran."""
    (folder / "empty.flash").write_bytes(b"hello")
    done = plum("simulate-soc", "--flash", folder / "empty.flash")
    assert done.returncode == 1
    assert "classified         nothing; NO_SLOT: no flash image here" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--bundle", "{folder}/net.plum", "--array", "tiny"), "is for one array already"),
        (("--bundle", "{folder}/none.plum"), "'{folder}/none.plum': No such file"),
        (("--flash", "{folder}/none.flash"), "none.flash: No such file"),
        (("--flash", "{folder}/huge.flash"), "has 17,000,000 bytes; behind byte 0x10000"),
        (("--flash", "{folder}/huge.flash", "--images", "x.npz"), "--flash holds the images"),
        (("--array", "none"), "no array preset 'none'"),
        (("--app", "none"), "Invalid value for '--app': 'none' is not one of 'standalone'"),
    ],
)
def test_wrong_words_for_the_simulation(folder, arguments, text):
    with (folder / "huge.flash").open("wb") as file:
        file.truncate(17_000_000)
    done = plum("simulate-soc", *(word.format(folder=folder) for word in arguments))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert text.format(folder=folder) in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--limit", "3"), "--labels and --limit are about images; name them with --images"),
        (("--slot", "2"), "--slot is '2'; it must be 0, 1 or both"),
        (("--sequence", "-1"), "--sequence is '-1'"),
        (("--flash-base", "0x12345"), "must be multiples of 65536"),
        (("--images", "{folder}/none.npz"), "none.npz: No such file"),
        (("--images", "{folder}/wrong.npz"), "an image has shape (1, 3, 3); the network takes"),
    ],
)
def test_wrong_words_are_named(folder, arguments, text):
    np.savez(folder / "wrong.npz", images=np.zeros((2, 1, 3, 3), np.uint8))
    words = [word.format(folder=folder) for word in arguments]
    done = plum("flash-image", folder / "net.plum", "-o", folder / "x.flash", *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert text in done.stderr
    assert not (folder / "x.flash").exists()
