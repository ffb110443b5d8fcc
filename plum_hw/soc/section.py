"""What the sections of a flash image have in common."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plum_hw.errors import BundleError
from plum_hw.soc.format import MAX_HEADER_BYTES, Section


@dataclass(frozen=True)
class FlashSection:
    """One section of a slot: its kind, its name in the directory, its bytes."""

    kind: Section
    name: str
    data: bytes


def pack_words(words: Sequence[int]) -> bytes:
    """Little-endian bytes of 32-bit words."""
    return np.array(words, "<u4").tobytes()


def seal(words: Sequence[int]) -> bytes:
    """A header, and its CRC-32 behind it."""
    data = pack_words(words)
    if len(data) + 4 > MAX_HEADER_BYTES:
        raise BundleError(
            f"the header of a flash section has {len(data) + 4} bytes and firmware reads at most "
            f"{MAX_HEADER_BYTES}; the network's maps are too irregular"
        )
    return data + pack_words([zlib.crc32(data)])
