"""A bundle as a section of a flash image: steps, maps as runs, words to write."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from plum_host.bundle import Bundle
from plum_host.protocol import Space
from plum_hw.errors import BundleError
from plum_hw.soc.format import (
    FORMAT_VERSION,
    MAX_FOLLOWING,
    NETWORK,
    NETWORK_MAGIC,
    PLACE_BITS,
    RUN,
    STEP,
    ZEROS,
    Output,
    Section,
    StepKind,
)
from plum_hw.soc.section import FlashSection, seal

_WORD = (1 << 32) - 1


def runs(places: npt.NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """Length, first place and stride of the runs that a map of places (-1: zero) consists of."""
    found: list[tuple[int, int, int]] = []
    values = places.tolist()
    i = 0
    while i < len(values):
        first, end = values[i], i + 1
        if first < 0:
            while end < len(values) and values[end] < 0:
                end += 1
            found.append((end - i, ZEROS, 0))
        else:
            stride = 1
            if end < len(values) and values[end] >= 0:
                stride = values[end] - first
                while end < len(values) and values[end] == values[end - 1] + stride:
                    end += 1
                # Should the stride not hold, what is next begins a run of its own.
                if end == i + 2 and end < len(values) and values[end] == values[end - 1] + 1:
                    end, stride = i + 1, 1
            found.append((end - i, first, stride))
        i = end
    return found


def run_words(items: Sequence[tuple[int, int, int]]) -> list[int]:
    """Runs as firmware reads them: a few zeros behind a run are part of it."""
    words: list[int] = []
    for length, first, stride in items:
        before = words[1 - RUN.words] if words else ZEROS
        if first == ZEROS and length <= MAX_FOLLOWING and not before >> PLACE_BITS:
            words[1 - RUN.words] |= length << PLACE_BITS
        else:
            words += RUN.pack(length=length, first=first, stride=stride & _WORD)
    return words


class _NetworkSection:
    """Lays a network's section out: steps first, whose places in the data are known only later."""

    def __init__(self) -> None:
        self.steps: list[dict[str, int]] = []
        self.runs: list[int] = []
        self.data: list[bytes] = []
        self.setup = 0
        self._size = 0
        self._known: dict[bytes, int] = {}

    def add(self, kind: StepKind, **values: int) -> None:
        empty = dict.fromkeys(("targets", "space", "address", "count", "bytes", "data", "crc"), 0)
        self.steps.append({**empty, "kind": int(kind), **values})

    def load(self, space: Space, targets: int, words: npt.NDArray[np.uint32]) -> None:
        """Write words to a memory; equal words are stored once."""
        text = words.astype("<u4").tobytes()
        if text not in self._known:
            self._known[text] = self._size
            self.data.append(text)
            self._size += len(text)
        self.add(
            StepKind.LOAD,
            targets=targets,
            space=int(space),
            count=len(words),
            data=self._known[text],
            crc=zlib.crc32(text),
        )

    def through(
        self, kind: StepKind, targets: int, address: int, places: npt.NDArray[np.integer]
    ) -> None:
        """Move bytes by a map of their places."""
        words = run_words(runs(places))
        self.add(
            kind,
            targets=targets,
            address=address,
            count=len(words) // RUN.words,
            bytes=len(places),
            data=4 * len(self.runs),
        )
        self.runs += words


def _groups(blocks: Sequence[bytes]) -> list[tuple[int, int]]:
    """A cluster of each kind of blocks, and a bit for each cluster that has the same."""
    targets: dict[bytes, int] = {}
    for cluster, block in enumerate(blocks):
        targets[block] = targets.get(block, 0) | 1 << cluster
    return [(blocks.index(block), mask) for block, mask in targets.items()]


def _add_loads(section: _NetworkSection, bundle: Bundle, part: int) -> None:
    for space, memory in ((Space.CODE, bundle.code), (Space.TABLE, bundle.table)):
        clusters = memory[part]
        for cluster, targets in _groups([words.tobytes() for words in clusters]):
            section.load(space, targets, clusters[cluster])


def _pixels(bundle: Bundle, places: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Places in host memory as those of pixels in (C, H, W) order; -1 stays, and margins are -1.

    Raises `BundleError` for a place outside of the image.
    """
    source = bundle.input_place
    known = np.full(source.padded, -1, np.int64)
    top, _, left, _ = source.margins
    _, height, width = source.shape
    order = np.arange(int(np.prod(source.shape))).reshape(source.shape)
    known[:, top : top + height, left : left + width] = order
    inside = (places >= source.at) & (places < source.at + source.size)
    if ((places >= 0) & ~inside).any():
        raise _needs_host(bundle)
    found = known.reshape(-1)[np.where(inside, places - source.at, 0)]
    return np.where(inside, found, -1)


def _needs_host(bundle: Bundle) -> BundleError:
    return BundleError(
        f"the network's tensors do not all stay in array {bundle.manifest['config']['name']}: "
        f"{bundle.host_bytes:,} bytes of a host's memory are needed between its steps, which the "
        "controller has not; compile it for an array with more act_depth"
    )


def _add_input(section: _NetworkSection, bundle: Bundle, writes: Sequence[tuple[int, int]]) -> None:
    for number, offset in writes:
        places = bundle.maps[number]
        rows = [_pixels(bundle, np.where(row < 0, -1, row + offset)) for row in places]
        used = bundle.uses[number].clusters
        for cluster, targets in _groups([row.tobytes() for row in rows]):
            targets &= sum(1 << c for c in used)
            if targets:
                address = bundle.uses[number].address
                section.through(StepKind.INPUT, targets, address, rows[cluster])


def _add_output(section: _NetworkSection, bundle: Bundle) -> None:
    """What the last step reads is the output, all of it."""
    *before, last = bundle.steps
    place = bundle.output_place
    if any(step.reads or step.results for step in before) or any(place.margins):
        raise _needs_host(bundle)
    if bundle.logits:
        if last.reads or last.results != ((place.shape[0], place.at),):
            raise _needs_host(bundle)
        section.add(StepKind.RESULTS, targets=1, count=place.shape[0])
        return
    if last.results or len(last.reads) != 1:
        raise _needs_host(bundle)
    ((number, offset),) = last.reads
    size = int(np.prod(place.shape))
    clusters, bytes_ = np.full(size, -1, np.int64), np.zeros(size, np.int64)
    for cluster, row in enumerate(bundle.maps[number]):
        kept = np.flatnonzero(row >= 0)
        element = row[kept] + offset - place.at
        if ((element < 0) | (element >= size)).any():
            raise _needs_host(bundle)
        clusters[element], bytes_[element] = cluster, kept
    if (clusters < 0).any():
        raise _needs_host(bundle)
    for piece in np.split(np.arange(size), np.flatnonzero(np.diff(clusters)) + 1):
        section.through(
            StepKind.GATHER,
            1 << int(clusters[piece[0]]),
            bundle.uses[number].address,
            bytes_[piece],
        )


def _label_bytes(labels: Sequence[str] | None) -> bytes:
    text = b"".join(label.encode("ascii", "replace") + b"\0" for label in labels or ())
    return text + bytes(-len(text) % 4)


def network_section(bundle: Bundle, name: str | None = None) -> FlashSection:
    """A bundle as a section.

    Raises
    ------
    BundleError : the network needs host memory between its steps
    """
    manifest = bundle.manifest
    source, output = manifest["input"], manifest["output"]
    section = _NetworkSection()
    if len(bundle.parts) == 1:
        _add_loads(section, bundle, 0)
        section.setup = len(section.steps)
    loaded = 0 if section.setup else None
    for turn in bundle.steps:
        _add_input(section, bundle, turn.writes)
        if turn.part != loaded:
            _add_loads(section, bundle, turn.part)
            loaded = turn.part
        section.add(StepKind.RUN, targets=1, count=bundle.parts[turn.part])
    _add_output(section, bundle)

    labels = _label_bytes(manifest["labels"])
    steps_at = 4 * NETWORK.words
    runs_at = steps_at + 4 * STEP.words * len(section.steps)
    labels_at = runs_at + 4 * len(section.runs)
    data_at = labels_at + len(labels) + 4  # the CRC
    base = {StepKind.LOAD: data_at, StepKind.INPUT: runs_at, StepKind.GATHER: runs_at}
    steps: list[int] = []
    for step in section.steps:
        place = base.get(StepKind(step["kind"]), 0)
        steps += STEP.pack(**{**step, "data": step["data"] + place})
    cycles = manifest["predicted_cycles"]
    header = NETWORK.pack(
        magic=NETWORK_MAGIC,
        version=FORMAT_VERSION,
        header_bytes=data_at,
        clusters=manifest["config"]["clusters"],
        array=np.frombuffer(bytes.fromhex(manifest["digest"]), "<u4").tolist(),
        source=np.frombuffer(bytes.fromhex(manifest["network"]["digest"]), "<u4").tolist(),
        channels=source["shape"][0],
        height=source["shape"][1],
        width=source["shape"][2],
        bits=source["bits"],
        output=int(Output.LOGITS if output["kind"] == "logits" else Output.MAP),
        out_channels=output["shape"][0],
        out_height=output["shape"][1] if output["kind"] == "map" else 1,
        out_width=output["shape"][2] if output["kind"] == "map" else 1,
        cycles=[cycles & _WORD, cycles >> 32],
        steps=steps_at,
        step_count=len(section.steps),
        setup_count=section.setup,
        labels=labels_at if labels else 0,
        label_bytes=len(labels),
        label_count=len(manifest["labels"] or ()),
    )
    text = np.frombuffer(labels, "<u4").tolist()
    sealed = seal([*header, *steps, *section.runs, *text])
    return FlashSection(
        Section.NETWORK, name or manifest["network"]["name"], sealed + b"".join(section.data)
    )
