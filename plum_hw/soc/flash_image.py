"""Flash images: a network and images in the form that firmware reads (`plum_hw.soc.format`).

Firmware does not read bundles: a reader of JSON and of 32-bit maps for every byte has no place in a
few KiB of RAM. A flash image is what is left when all of a bundle's checks have been made: words to
write, and maps as runs of bytes that are a step apart.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from plum_hw.controller import ControllerConfig
from plum_hw.errors import ConfigError, ImageError
from plum_hw.soc.format import (
    ENTRY,
    FORMAT_VERSION,
    IMAGES,
    IMAGES_MAGIC,
    MAX_ENTRIES,
    NAME_BYTES,
    SLOT,
    SLOT_MAGIC,
    Section,
)
from plum_hw.soc.network_section import network_section, runs
from plum_hw.soc.section import FlashSection, seal

__all__ = [
    "FlashSection",
    "images_section",
    "network_section",
    "output_crc",
    "runs",
    "slot",
    "whole_flash",
]

_WORD = (1 << 32) - 1
#: What an erased flash holds.
ERASED = 0xFF


def output_crc(output: npt.NDArray[np.integer]) -> int:
    """The checksum that firmware prints of an output: int32 logits, or a uint8 map (C, H, W)."""
    data = np.ascontiguousarray(output).astype("<i4" if output.ndim == 1 else "u1").tobytes()
    return zlib.crc32(data + bytes(-len(data) % 4))


def images_section(
    name: str,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer] | None = None,
    outputs: npt.NDArray[np.integer] | None = None,
) -> FlashSection:
    """Images as a section. Raises `ImageError`: another type or shape.

    *Parameters*: ``images``, uint8 [N, C, H, W]; ``labels``, the class of each, [N]; ``outputs``,
    what the network gives for each, whose checksums are stored.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ImageError(
            f"images are {images.dtype} of shape {images.shape}; a flash image takes uint8 of "
            "shape (N, C, H, W), one or more"
        )
    count, channels, height, width = images.shape
    size = channels * height * width
    pitch = size + -size % 4
    data = np.zeros((count, pitch), np.uint8)
    data[:, :size] = images.reshape(count, size)
    tables = [[zlib.crc32(image.tobytes()) for image in data]]
    places = {"crcs": 4 * IMAGES.words, "labels": 0, "expected": 0}
    if labels is not None:
        places["labels"] = 4 * (IMAGES.words + count * len(tables))
        tables.append([int(label) & _WORD for label in labels])
    if outputs is not None:
        places["expected"] = 4 * (IMAGES.words + count * len(tables))
        tables.append([output_crc(output) for output in outputs])
    header_bytes = 4 * (IMAGES.words + count * len(tables) + 1)
    header = IMAGES.pack(
        magic=IMAGES_MAGIC,
        version=FORMAT_VERSION,
        header_bytes=header_bytes,
        count=count,
        channels=channels,
        height=height,
        width=width,
        pitch=pitch,
        data=header_bytes,
        **places,
    )
    sealed = seal([*header, *(word for table in tables for word in table)])
    return FlashSection(Section.IMAGES, name, sealed + data.tobytes())


def slot(sections: Sequence[FlashSection], *, sequence: int = 1) -> bytes:
    """A slot with these sections.

    Raises
    ------
    ConfigError : too many sections, or a name that does not fit the directory
    """
    if len(sections) > MAX_ENTRIES:
        raise ConfigError(f"{len(sections)} sections; a slot takes at most {MAX_ENTRIES}")
    if not 0 <= sequence <= _WORD:
        raise ConfigError(f"the slot's number is {sequence}; it must be 0 to {_WORD}")
    header_bytes = 4 * (SLOT.words + len(sections) * ENTRY.words + 1)
    place = header_bytes
    directory: list[int] = []
    for section in sections:
        name = section.name.encode("ascii", "replace")
        if not 1 <= len(name) < NAME_BYTES:
            raise ConfigError(
                f"section {section.name!r}: a name must have 1 to {NAME_BYTES - 1} characters"
            )
        directory += ENTRY.pack(
            kind=int(section.kind),
            offset=place,
            bytes=len(section.data),
            crc=zlib.crc32(section.data),
            name=np.frombuffer(name.ljust(NAME_BYTES, b"\0"), "<u4").tolist(),
        )
        place += len(section.data)
    header = SLOT.pack(
        magic=SLOT_MAGIC,
        version=FORMAT_VERSION,
        header_bytes=header_bytes,
        total_bytes=place,
        sequence=sequence,
        entries=len(sections),
    )
    return seal([*header, *directory]) + b"".join(section.data for section in sections)


def whole_flash(
    slots: Sequence[bytes | None], controller: ControllerConfig, *, from_byte: int = 0
) -> bytes:
    """What the flash holds from `from_byte` to the end of the last slot that there is; of the two
    ``slots`` None is an empty one. Raises `ConfigError` for one that does not fit.
    """
    image = bytearray()
    for number, data in enumerate(slots):
        if data is None:
            continue
        if len(data) > controller.slot_bytes:
            raise ConfigError(
                f"the slot has {len(data):,} bytes and there is room for "
                f"{controller.slot_bytes:,}; take fewer images (--limit)"
            )
        begin = controller.flash_base + number * controller.slot_bytes - from_byte
        image += bytes([ERASED]) * (begin - len(image))
        image += data
    return bytes(image)
