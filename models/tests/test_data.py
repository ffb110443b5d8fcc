"""Loaders: each form of each data set, what is wrong with damaged ones, and the augmentation."""

import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from plum_models import cifar
from plum_models.cifar import cifar10
from plum_models.data import MemoryAugmenter, Split, colour_jitter, spread, stream, synthetic
from plum_models.datasets import open_data
from plum_models.errors import ModelError
from plum_models.imagefolder import image_folder, random_box

COUNTS = {True: 100, False: 20}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CIFAR-10 of 120 images."""
    monkeypatch.setattr(cifar, "COUNTS", COUNTS)


def images(train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Smooth pictures (so that JPEG hardly changes them) and labels, sorted by nothing."""
    rng = np.random.default_rng(int(train))
    count = COUNTS[train]
    corners = rng.integers(0, 256, (count, 3, 2, 2)).astype(np.float64)
    ramp = np.linspace(0, 1, 32)
    across = corners[..., :1] * (1 - ramp) + corners[..., 1:] * ramp
    full = across[:, :, :1] * (1 - ramp[:, None]) + across[:, :, 1:] * ramp[:, None]
    labels = rng.permutation(np.arange(count) % 10)
    return full.round().astype(np.uint8), labels.astype(np.int64)


def python_form(folder: Path) -> Path:
    folder = folder / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for train in (True, False):
        data, labels = images(train)
        names = [f"data_batch_{i}" for i in range(1, 6)] if train else ["test_batch"]
        for name, rows in zip(names, np.array_split(np.arange(len(data)), len(names)), strict=True):
            batch = {b"data": data[rows].reshape(len(rows), -1), b"labels": labels[rows].tolist()}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return folder


def binary_form(folder: Path) -> Path:
    folder = folder / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for train in (True, False):
        data, labels = images(train)
        names = [f"data_batch_{i}.bin" for i in range(1, 6)] if train else ["test_batch.bin"]
        records = np.concatenate([labels[:, None].astype(np.uint8), data.reshape(-1, 3072)], 1)
        for name, part in zip(names, np.array_split(records, len(names)), strict=True):
            (folder / name).write_bytes(part.tobytes())
    return folder


def compact_form(folder: Path, **changes: Any) -> Path:
    streams, labels, marks = [], [], []
    for train in (False, True):
        data, classes = images(train)
        for image, label in zip(data, classes, strict=True):
            file = BytesIO()
            Image.fromarray(image.transpose(1, 2, 0)).save(file, "JPEG", quality=95)
            streams.append(np.frombuffer(file.getvalue(), np.uint8))
            labels.append(label)
            marks.append(not train)
    ends = np.cumsum([len(stream) for stream in streams])
    values = {
        "jpeg": np.concatenate(streams),
        "offsets": np.concatenate([[0], ends]),
        "label": np.array(labels, np.uint8),
        "is_test": np.array(marks),
    }
    np.savez(folder / "compact.npz", **{**values, **changes})
    return folder / "compact.npz"


@pytest.mark.parametrize("form", [python_form, binary_form])
def test_cifar_folders(form: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = form(tmp_path)
    for path in (folder, folder.parent):
        found = cifar10(path)
        assert found.title == "CIFAR-10"
        for train in (True, False):
            split = found.split(train=train)
            assert isinstance(split, Split)
            data, labels = images(train)
            assert np.array_equal(split.images.numpy(), data)
            assert np.array_equal(split.labels.numpy(), labels)


@pytest.mark.parametrize("ends", [True, False])
def test_cifar_compact(ends: bool, tmp_path: Path) -> None:
    """JPEG streams; their offsets with the end of the last or without. Never called CIFAR-10."""
    path = compact_form(tmp_path)
    if not ends:
        with np.load(path) as file:
            path = compact_form(tmp_path, offsets=file["offsets"][:-1])
    found = cifar10(path)
    assert found.title == "CIFAR-10 (JPEG)"
    for train in (True, False):
        split = found.split(train=train)
        assert isinstance(split, Split)
        data, labels = images(train)
        assert np.array_equal(split.labels.numpy(), labels)
        assert np.abs(split.images.numpy().astype(int) - data).mean() < 3


class _Calls:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("must not be called",))


def test_damaged_cifar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = python_form(tmp_path / "a")
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": _Calls(), b"labels": []}))
    with pytest.raises(ModelError, match=r"it wants to call builtins\.print"):
        cifar10(folder).split(train=False)
    assert capsys.readouterr().out == ""
    (folder / "test_batch").write_bytes(b"no pickle")
    with pytest.raises(ModelError, match="test_batch"):
        cifar10(folder).split(train=False)

    folder = binary_form(tmp_path / "b")
    whole = (folder / "test_batch.bin").read_bytes()
    for damaged, message in (
        (whole[:-1], "whole records"),
        (whole[:-3073], "19 images"),
        (whole[3073:] + whole[3073:6146], "a damaged copy"),
        (b"\x0b" + whole[1:], "there are 0..9"),
    ):
        (folder / "test_batch.bin").write_bytes(damaged)
        with pytest.raises(ModelError, match=message):
            cifar10(folder).split(train=False)

    with np.load(compact_form(tmp_path)) as file:
        offsets, jpeg = file["offsets"], file["jpeg"]
    for changes, message in (
        ({"offsets": offsets[:-3]}, "do not match"),
        ({"offsets": offsets[::-1]}, "do not match"),
        ({"jpeg": jpeg[:-9]}, "streams end"),
        ({"jpeg": np.zeros_like(jpeg)}, "image 0"),
        ({"is_test": np.zeros(120, bool)}, "0 images"),
    ):
        with pytest.raises(ModelError, match=message):
            cifar10(compact_form(tmp_path, **changes)).split(train=False)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cifar10", "cs.toronto.edu"),
        ("fashion", "dataset-fashion-mnist"),
        ("imagefolder", "train/CLASS"),
        ("mnist", "must be one of fashion, cifar10, imagefolder"),
    ],
)
def test_missing_data_says_where_to_get_it(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        open_data(name, tmp_path / "nowhere").split(train=True)


def picture_folder(root: Path) -> Path:
    """Pictures of two classes and several sizes: red tells the class, green the column."""
    for part, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(("ant", "bee")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                high, wide = 40 + 8 * i, 64 - 4 * i
                pixels = np.zeros((high, wide, 3), np.uint8)
                pixels[..., 0] = 200 * label + 20
                pixels[..., 1] = np.linspace(0, 255, wide).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


def test_image_folder(tmp_path: Path) -> None:
    data = image_folder(picture_folder(tmp_path / "pictures"), size=24)
    assert (data.title, data.labels) == ("pictures", ("ant", "bee"))
    test = data.split(train=False)
    assert test.labels.tolist() == [0, 0, 1, 1]
    pixels = test.pixels(0, 4)
    assert pixels.shape == (4, 3, 24, 24)
    assert pixels.dtype == torch.uint8
    assert pixels[:, 0].float().mean((1, 2)).tolist() == pytest.approx([20, 20, 220, 220], abs=2)
    # The middle square: as far from the left edge as from the right one.
    assert pixels[:, 1].float().mean((1, 2)).tolist() == pytest.approx([127.5] * 4, abs=4)

    train = data.split(train=True)
    make = train.augmenter(shift=0, flip=True, jitter=0.0)
    picked = torch.tensor([0, 5, 3, 1] * 8)
    batch = make.batch(picked, stream(1, 2))
    assert batch.shape == (32, 3, 24, 24)
    assert torch.equal(batch, make.batch(picked, stream(1, 2)))
    assert not torch.equal(batch, make.batch(picked, stream(1, 3)))
    reds = batch[:, 0].mean((1, 2)) * 255
    assert torch.allclose(reds, 200.0 * train.labels[picked] + 20, atol=2)
    slope = (batch[:, 1, :, -1] - batch[:, 1, :, 0]).mean(1)
    assert (slope > 0).any(), "some as they are"
    assert (slope < 0).any(), "and some mirrored"
    assert make.batch(picked[:2], stream(1), 16).shape == (2, 3, 16, 16)
    assert len(train.some(3)) == 3
    assert train.some(3).labels.tolist() == [0, 0, 1]


def test_random_box() -> None:
    """Inside the picture, with the area and shape that were drawn."""
    generator = np.random.default_rng(3)
    for _ in range(200):
        draw = generator.random(4).tolist()
        left, upper, right, lower = random_box(300, 200, draw)
        assert 0 <= left < right <= 300
        assert 0 <= upper < lower <= 200
        area, ratio = (right - left) * (lower - upper) / 60_000, (right - left) / (lower - upper)
        if right - left < 300 and lower - upper < 200:
            assert area == pytest.approx(0.08 + 0.92 * draw[0], rel=0.03)
            assert 0.7 < ratio < 1.4


def test_wrong_image_folders(tmp_path: Path) -> None:
    root = picture_folder(tmp_path / "p")
    (root / "val" / "cow").mkdir()
    with pytest.raises(ModelError, match="'cow' is in one of"):
        image_folder(root, size=24)
    (root / "train" / "cow").mkdir()
    with pytest.raises(ModelError, match="cow has no images"):
        image_folder(root, size=24).split(train=True)
    (root / "train" / "cow" / "1.jpg").write_bytes(b"not a picture")
    split = image_folder(root, size=24).split(train=True)
    with pytest.raises(ModelError, match=r"1\.jpg"):
        split.pixels(0, len(split))


def test_augmentation_of_images_in_memory() -> None:
    """Every result is a window of the padded image, mirrored or not."""
    images = torch.arange(1, 2 * 2 * 6 * 6 + 1, dtype=torch.uint8).reshape(2, 2, 6, 6)
    for size, shift in ((0, 1), (4, 0), (5, 2)):
        make = MemoryAugmenter(images, shift=shift, flip=True)
        side = size or 6
        padded = torch.nn.functional.pad(images, (shift,) * 4)
        windows = padded.unfold(2, side, 1).unfold(3, side, 1).flatten(2, 3).transpose(1, 2)
        allowed = {
            (n, bytes(view.flatten().tolist()))
            for n in range(2)
            for window in windows[n]
            for view in (window, window.flip(2))
        }
        picked = torch.tensor([0, 1] * 200)
        batch = (make.batch(picked, stream(size, shift), size) * 255).round().to(torch.uint8)
        got = {
            (n, bytes(image.flatten().tolist()))
            for n, image in zip(picked.tolist(), batch, strict=True)
        }
        assert got <= allowed
        assert len(got) > 0.8 * len(allowed), "all of them occur"


def test_colour_jitter() -> None:
    images = synthetic(64, 1, channels=3).images.float() / 255
    out = colour_jitter(images, 0.4, stream(5))
    assert 0 <= out.min() <= out.max() <= 1
    grey = torch.full((64, 3, 4, 4), 0.5)
    changed = colour_jitter(grey, 0.4, stream(6))  # only brightness shows on grey
    assert torch.allclose(changed, changed[:, :1, :1, :1].expand_as(changed), atol=1e-6)
    assert 0.3 <= changed.min() < 0.35
    assert 0.65 < changed.max() <= 0.7


def test_spread() -> None:
    assert spread(10, 4).tolist() == [0, 2, 5, 7]
    assert spread(3, 3).tolist() == [0, 1, 2]
