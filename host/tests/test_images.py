from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plum_host import images as module
from plum_host.errors import ImageError
from plum_host.images import load_images

PIXELS = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
LABELS = np.arange(5)


def idx(array: np.ndarray) -> bytes:
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


Save = Callable[[str, bytes], Path]


@pytest.mark.parametrize(
    "data",
    [
        npy(PIXELS),
        npy(PIXELS[:, None]),
        npy(np.asfortranarray(PIXELS)),
        npz(images=PIXELS),
        npz(anything=PIXELS),
        npz(images=PIXELS, other=np.zeros(3)),
        idx(PIXELS),
        gzip.compress(idx(PIXELS), mtime=0),
    ],
)
def test_images_of_every_kind_are_read(data: bytes, save: Save) -> None:
    pixels, labels = load_images(save("images", data))
    assert np.array_equal(pixels, PIXELS[:, None])
    assert labels is None


@pytest.mark.parametrize("data", [npy(LABELS), idx(LABELS), npz(labels=LABELS), npz(a=LABELS)])
def test_labels_of_every_kind_are_read(data: bytes, save: Save) -> None:
    _, labels = load_images(save("images", npy(PIXELS)), save("labels", data))
    assert labels is not None
    assert np.array_equal(labels, LABELS)


def test_labels_beside_the_images_are_found(save: Save) -> None:
    _, labels = load_images(save("both", npz(images=PIXELS, labels=LABELS)))
    assert labels is not None
    assert np.array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unknown kind of file"),
        (b"hello", "unknown kind of file"),
        (npy(PIXELS.astype(np.float32)), "pixels are float32; they must be uint8"),
        (npy(PIXELS[0]), r"shape \(4, 3\); it must be \(N, H, W\)"),
        (npy(np.array([{}, []], dtype=object)), "holds Python objects"),
        (npy(PIXELS)[:-1], "truncated: 59 of 60 bytes"),
        (npy(PIXELS)[:30], "damaged"),
        (npz(images=PIXELS)[:-30], "damaged"),
        (npz(a=PIXELS, b=PIXELS), "no array named 'images'"),
        (idx(PIXELS)[:-1], "truncated"),
        (idx(PIXELS)[:9], "truncated"),
        (b"\0\0\x0d" + idx(PIXELS)[3:], "element type 0x0d"),
        (gzip.compress(idx(PIXELS), mtime=0)[:-12], "damaged"),
        (gzip.compress(b"hello", mtime=0), "unknown kind of file"),
        (b"\x1f\x8b" + bytes(20), "Unknown compression method|damaged"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "at most"),
        (b"PK\x03\x04" + bytes(30), "damaged"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(data: bytes, reason: str, save: Save) -> None:
    path = save("images", data)
    with pytest.raises(ImageError, match=reason) as error:
        load_images(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_labels_that_do_not_fit_are_refused(save: Save) -> None:
    images = save("images", npy(PIXELS))
    with pytest.raises(ImageError, match=r"shape \(4,\); they must be integers of shape \(5,\)"):
        load_images(images, save("labels", npy(LABELS[:4])))
    with pytest.raises(ImageError, match="labels are float64"):
        load_images(images, save("labels", npy(LABELS.astype(float))))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.npz: No such file"):
        load_images(tmp_path / "gone.npz")
    with pytest.raises(ImageError, match="Is a directory"):
        load_images(tmp_path)


def test_a_small_file_that_unpacks_to_much_is_refused(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    with pytest.raises(ImageError, match="holds 100,000 bytes; at most 10,000"):
        load_images(save("images", npz(images=np.zeros((10, 100, 100), np.uint8))))


def test_a_member_that_is_no_array_is_damaged(save: Save) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", b"no array at all, but long enough to look at")
    with pytest.raises(ImageError, match="damaged"):
        load_images(save("images", file.getvalue()))


@given(
    data=st.sampled_from(
        [npy(PIXELS), npz(images=PIXELS), idx(PIXELS), gzip.compress(idx(PIXELS), mtime=0)]
    ),
    place=st.integers(min_value=0),
    change=st.integers(1, 255),
    cut=st.integers(min_value=0),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_an_image_error_or_still_images(
    data: bytes, place: int, change: int, cut: int, tmp_path: Path
) -> None:
    content = bytearray(data)
    content[place % len(content)] ^= change
    path = tmp_path / "images"
    path.write_bytes(content[: len(content) - cut % (len(content) // 2)])
    try:
        pixels, _ = load_images(path)
    except ImageError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 4
