"""The flash image: the one description of its records, from which the C header is written too.

A slot is a header with a directory, and sections. Everything is 32-bit words, little endian;
offsets are in bytes from the section's (in the directory: the slot's) begin and multiples of four.
Sections begin with a header whose last word is the CRC-32 of all before it, tables included, so
that a reader trusts no length of it before that sum was right; data behind the header have sums of
their own.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

#: Raised with every change that a reader must know of.
FORMAT_VERSION = 1

SLOT_MAGIC = int.from_bytes(b"PLSL", "little")
NETWORK_MAGIC = int.from_bytes(b"PLNT", "little")
IMAGES_MAGIC = int.from_bytes(b"PLIM", "little")
#: Entries of a directory, bytes of a header and steps of a network have these limits, so that a
#: reader's work is bounded.
MAX_ENTRIES = 64
MAX_HEADER_BYTES = 1 << 20
NAME_BYTES = 32
#: `RUN.FIRST` of bytes that are zero.
ZEROS = 0xFFFF_FFFF
#: Bits of RUN.FIRST that are the place; above them is the number of zeros that follow the run.
PLACE_BITS = 24
#: Most zeros that can: so that no run's first word is `ZEROS`.
MAX_FOLLOWING = 254


@dataclass(frozen=True)
class Record:
    """Words with names; a name may stand for several words."""

    name: str
    text: str
    fields: tuple[tuple[str, int, str], ...]  # name, words, what it is

    @property
    def words(self) -> int:
        return sum(words for _, words, _ in self.fields)

    def index(self, name: str) -> int:
        """The first word of a field."""
        place = 0
        for field, words, _ in self.fields:
            if field == name:
                return place
            place += words
        raise KeyError(name)

    def pack(self, **values: int | Sequence[int]) -> list[int]:
        """Words of one record; every field must be given."""
        names = [name for name, _, _ in self.fields]
        if set(values) != {name.lower() for name in names}:
            raise ValueError(f"{self.name} has the fields {names}, not {sorted(values)}")
        packed: list[int] = []
        for name, words, _ in self.fields:
            value = values[name.lower()]
            items = [value] if isinstance(value, int) else list(value)
            if len(items) != words or not all(0 <= item < 1 << 32 for item in items):
                raise ValueError(f"{self.name}.{name} is {value!r}; it must be {words} words")
            packed += items
        return packed


class Section(enum.IntEnum):
    """Kinds of sections."""

    NETWORK = int.from_bytes(b"NETW", "little")
    IMAGES = int.from_bytes(b"IMGS", "little")


class Output(enum.IntEnum):
    """What a network gives."""

    LOGITS = 0  # signed 32-bit words
    MAP = 1  # bytes in (C, H, W) order


class StepKind(enum.IntEnum):
    """What a step of a network does."""

    LOAD = 1  # write DATA to ADDRESS of SPACE, and check its CRC
    INPUT = 2  # write the image to ADDRESS of activation memory, through the COUNT runs at DATA
    RUN = 3  # run COUNT layers from word ADDRESS of code memory on
    RESULTS = 4  # the output is COUNT words of the results
    GATHER = 5  # append to the output COUNT bytes of activation memory, through the runs at DATA


SLOT = Record(
    "SLOT",
    "Header of a slot. The directory follows, then the CRC-32 of both.",
    (
        ("MAGIC", 1, '"PLSL"'),
        ("VERSION", 1, "of the format"),
        ("HEADER_BYTES", 1, "of header, directory and CRC"),
        ("TOTAL_BYTES", 1, "of the whole slot, as far as it is used"),
        ("SEQUENCE", 1, "of two good slots the one with the higher number is booted"),
        ("ENTRIES", 1, "of the directory"),
    ),
)

ENTRY = Record(
    "ENTRY",
    "Directory: one section.",
    (
        ("KIND", 1, '"NETW" or "IMGS"'),
        ("OFFSET", 1, "where it begins in the slot"),
        ("BYTES", 1, "how long it is"),
        ("CRC", 1, "CRC-32 of all of it"),
        ("NAME", NAME_BYTES // 4, "ASCII, ended by a zero byte"),
    ),
)

NETWORK = Record(
    "NETWORK",
    "Header of a network. Steps, runs and labels follow, then the CRC-32 of all.",
    (
        ("MAGIC", 1, '"PLNT"'),
        ("VERSION", 1, "of the format"),
        ("HEADER_BYTES", 1, "of header, steps, runs, labels and CRC"),
        ("CLUSTERS", 1, "of the array"),
        ("ARRAY", 4, "digest of the array that it was compiled for"),
        ("SOURCE", 8, "SHA-256 of the network file"),
        ("CHANNELS", 1, "of an image"),
        ("HEIGHT", 1, "of an image"),
        ("WIDTH", 1, "of an image"),
        ("BITS", 1, "of a pixel, which is a byte"),
        ("OUTPUT", 1, "kind of the output: 0 logits, 1 a map of bytes"),
        ("OUT_CHANNELS", 1, "of the output"),
        ("OUT_HEIGHT", 1, "of the output"),
        ("OUT_WIDTH", 1, "of the output"),
        ("CYCLES", 2, "predicted cycles of an image, low half first"),
        ("STEPS", 1, "where the steps begin"),
        ("STEP_COUNT", 1, "how many there are"),
        ("SETUP_COUNT", 1, "how many of them, the first ones, are done once and not an image"),
        ("LABELS", 1, "where the labels begin: strings, each ended by a zero byte"),
        ("LABEL_BYTES", 1, "their bytes, a multiple of four; 0: there are none"),
        ("LABEL_COUNT", 1, "how many there are: one an output, or none"),
    ),
)

STEP = Record(
    "STEP",
    "A step of a network.",
    (
        ("KIND", 1, "LOAD, INPUT, RUN, RESULTS or GATHER"),
        ("TARGETS", 1, "bit c: for cluster c"),
        ("SPACE", 1, "LOAD: the memory"),
        ("ADDRESS", 1, "word of the memory"),
        ("COUNT", 1, "LOAD: 32-bit words; INPUT, GATHER: runs; RUN: layers; RESULTS: words"),
        ("BYTES", 1, "INPUT: written, a multiple of 8; GATHER: appended; else 0"),
        ("DATA", 1, "LOAD: where its words are; INPUT, GATHER: where its runs are"),
        ("CRC", 1, "LOAD: of its words"),
    ),
)

RUN = Record(
    "RUN",
    "Bytes that are a step apart in their source: the compact form of a map of places.",
    (
        ("LENGTH", 1, "bytes"),
        ("FIRST", 1, "place of the first one, and from bit 24 on zeros behind; all 1: all zeros"),
        ("STRIDE", 1, "from one to the next, two's complement"),
    ),
)

IMAGES = Record(
    "IMAGES",
    "Header of images. Their CRCs, labels and expected outputs follow, then the CRC-32 of all.",
    (
        ("MAGIC", 1, '"PLIM"'),
        ("VERSION", 1, "of the format"),
        ("HEADER_BYTES", 1, "of header, tables and CRC"),
        ("COUNT", 1, "how many images"),
        ("CHANNELS", 1, "of an image"),
        ("HEIGHT", 1, "of an image"),
        ("WIDTH", 1, "of an image"),
        ("PITCH", 1, "bytes from one image to the next, a multiple of four; (C, H, W) order"),
        ("DATA", 1, "where the first image begins"),
        ("CRCS", 1, "where the table of CRC-32 begins: one an image, over PITCH bytes"),
        ("LABELS", 1, "where the table of classes begins; 0: they are not known"),
        ("EXPECTED", 1, "where the CRC-32 of each output that is expected begins; 0: none"),
    ),
)

RECORDS = (SLOT, ENTRY, NETWORK, STEP, RUN, IMAGES)
