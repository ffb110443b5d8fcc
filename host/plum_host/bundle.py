"""Bundles: a network compiled for one array, in one file (`.plum`).

The host writes words and looks up places; it never packs. Ref: docs/architecture.md, "Bundle".
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from plum_host.container import (
    MAX_FILE_BYTES,
    Tensors,
    canonical_json,
    check_keys,
    dump,
    fail,
    parse,
    parse_json,
    show,
)
from plum_host.errors import BundleError, ImageError
from plum_host.manifest import FORMAT, MEMORIES, VERSION, check_manifest, tensor_sum
from plum_host.steps import MapUse, Place, Step

Words = npt.NDArray[np.uint32]
#: For each part the words of each cluster.
Memory = tuple[tuple[Words, ...], ...]
Map = npt.NDArray[np.int32]


def _frozen(array: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    result = np.array(array, dtype=dtype)
    result.setflags(write=False)
    return result


@dataclass(frozen=True, eq=False)
class Bundle:
    """A compiled network. Made by `build`, `load` or `from_bytes`, which check all of it.

    *Members*: ``manifest``; ``code``, ``table``: for each part the words of each cluster's
    memories from address 0 on, uint32; ``maps``, int32 [clusters, words*8] each: for every byte of
    some ACTIVATION words of a cluster its place in host memory, or -1: for zero, or not kept.
    """

    manifest: dict[str, Any]
    code: Memory
    table: Memory
    maps: tuple[Map, ...]

    # ---- making, reading, writing ----------------------------------------------------------------

    @classmethod
    def build(
        cls,
        manifest: dict[str, Any],
        *,
        code: Sequence[Sequence[npt.ArrayLike]],
        table: Sequence[Sequence[npt.ArrayLike]],
        maps: Sequence[npt.NDArray[Any]],
    ) -> Bundle:
        """Make one of a manifest (without ``format``, ``version`` and ``sha256``) and arrays.

        Raises `BundleError` where they do not belong together.
        """
        tensors = _named(code, table, maps)
        sums = {name: tensor_sum(tensor) for name, tensor in tensors.items()}
        return cls._checked(
            {**manifest, "format": FORMAT, "version": VERSION, "sha256": sums}, tensors
        )

    @classmethod
    def _checked(cls, manifest: dict[str, Any], tensors: Tensors) -> Bundle:
        check_manifest(manifest, tensors)
        code, table = (
            tuple(
                tuple(
                    _frozen(tensors[f"{name}.{part}.{cluster}"], "<u4")
                    for cluster in range(manifest["config"]["clusters"])
                )
                for part in range(len(manifest["parts"]))
            )
            for name in MEMORIES
        )
        maps = (tensors[f"map.{number}"] for number in range(len(manifest["maps"])))
        return cls(manifest, code, table, tuple(_frozen(places, "<i4") for places in maps))

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """Read a bundle. Raises `BundleError` for whatever is wrong with it."""
        metadata, tensors = parse(data)
        check_keys(metadata, ("plum_bundle", "plum_sha256"), "its metadata")
        text = metadata["plum_bundle"]
        if not isinstance(text, str):
            fail(f"its manifest is {show(text)}, not text")
        if metadata["plum_sha256"] != hashlib.sha256(text.encode()).hexdigest():
            fail("its manifest does not have its checksum")
        return cls._checked(parse_json(text, "its manifest"), tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Bundle:
        """Read a bundle's file. Raises `BundleError`, which names the file."""
        try:
            with Path(path).open("rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise BundleError("it is no regular file; give the path of a .plum file")
                if status.st_size > MAX_FILE_BYTES:
                    fail(f"it has {status.st_size} bytes; a bundle has at most {MAX_FILE_BYTES}")
                data = file.read(MAX_FILE_BYTES + 1)
            return cls.from_bytes(data)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise BundleError(
                f"bundle {os.fspath(path)!r}: {reason}; give the path of a .plum file"
            ) from None
        except BundleError as error:
            raise BundleError(f"bundle {os.fspath(path)!r}: {error}") from None

    def to_bytes(self) -> bytes:
        """The file; the same bytes for the same bundle, always."""
        text = canonical_json(self.manifest)
        tensors = _named(self.code, self.table, self.maps)
        checksum = hashlib.sha256(text.encode()).hexdigest()
        return dump({"plum_bundle": text, "plum_sha256": checksum}, tensors)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, replacing ``path`` in one step. Raises `BundleError` if it cannot."""
        target = Path(path)
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(self.to_bytes())
            partial.replace(target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise BundleError(
                f"cannot write {target}: {error.strerror or error}; give a path that can be written"
            ) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bundle) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.manifest["sha256"]["code.0.0"])

    # ---- what runs -------------------------------------------------------------------------------

    @property
    def parts(self) -> tuple[int, ...]:
        """Layers of each part."""
        return tuple(part["layers"] for part in self.manifest["parts"])

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """What the host does for an image."""
        return tuple(
            Step(
                entry["part"],
                *[
                    tuple((first, second) for first, second in entry[key])
                    for key in ("writes", "reads", "results")
                ],
            )
            for entry in self.manifest["steps"]
        )

    @cached_property
    def uses(self) -> tuple[MapUse, ...]:
        """Which clusters each map concerns."""
        entries = self.manifest["maps"]
        return tuple(
            MapUse.of(entry["address"], places)
            for entry, places in zip(entries, self.maps, strict=True)
        )

    @property
    def host_bytes(self) -> int:
        """Bytes of host memory."""
        size: int = self.manifest["host_bytes"]
        return size

    @property
    def input_place(self) -> Place:
        """The image in host memory."""
        return _place(self.manifest["input"])

    @property
    def output_place(self) -> Place:
        """The output in host memory; logits [K] are little-endian int32 from its first byte on."""
        return _place(self.manifest["output"])

    @property
    def held_places(self) -> dict[str, Place]:
        """The outputs of layers that host memory holds from step to step, by their names."""
        return {entry["name"]: _place(entry) for entry in self.manifest["tensors"]}

    @property
    def logits(self) -> bool:
        """Whether the output is logits and no map."""
        return bool(self.manifest["output"]["kind"] == "logits")

    # ---- images ----------------------------------------------------------------------------------

    @property
    def batch(self) -> int:
        """Inputs that are the pixels of one image of the network; 1 unless compiled for a batch."""
        count: int = self.manifest.get("batch", 1)
        return count

    def pack(self, inputs: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Inputs [N, C, 1, 1] as images that hold a batch each, the last one filled up with zeros;
        images themselves where there are no batches. Raises `ImageError` as `check_images` does.
        """
        inputs = np.asarray(inputs)
        if self.batch == 1:
            return self.check_images(inputs)
        channels, *pixels = self.manifest["input"]["shape"]
        if inputs.shape[1:] != (channels, 1, 1):
            raise ImageError(
                f"an input has shape {inputs.shape[1:]}; the network takes batches of "
                f"{(channels, 1, 1)}"
            )
        count = -(-len(inputs) // self.batch)
        padded = np.zeros((count * self.batch, channels), inputs.dtype)
        padded[: len(inputs)] = inputs[:, :, 0, 0]
        images = padded.reshape(count, self.batch, channels).swapaxes(1, 2)
        return self.check_images(images.reshape(count, channels, *pixels))

    def unpack(self, outputs: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
        """Outputs of the first ``count`` inputs that `pack` was given: [count, K, 1, 1] of batches,
        else ``outputs`` themselves.
        """
        if self.batch == 1:
            return outputs
        filters = outputs.shape[1]
        flat = outputs.reshape(len(outputs), filters, self.batch).swapaxes(1, 2)
        return flat.reshape(-1, filters, 1, 1)[:count]

    def check_images(self, images: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Images as an array uint8 [N, C, H, W]. Raises `ImageError`: type, shape or range."""
        images = np.asarray(images)
        shape, bits = tuple(self.manifest["input"]["shape"]), self.manifest["input"]["bits"]
        if images.dtype != np.uint8:
            raise ImageError(f"images are {images.dtype}; the network takes uint8")
        if images.shape[1:] != shape:
            raise ImageError(f"an image has shape {images.shape[1:]}; the network takes {shape}")
        peak = int(images.max(initial=0))
        if peak >> bits:
            raise ImageError(
                f"images hold the value {peak}; the network takes 0 to {(1 << bits) - 1}"
            )
        return images


def _place(entry: dict[str, Any]) -> Place:
    """Where a tensor is, by its entry in the manifest."""
    (channels, height, width), (top, bottom, left, right) = entry["shape"], entry["margins"]
    return Place(entry["at"], (channels, height, width), (top, bottom, left, right))


def _named(
    code: Sequence[Sequence[npt.ArrayLike]],
    table: Sequence[Sequence[npt.ArrayLike]],
    maps: Sequence[npt.ArrayLike],
) -> Tensors:
    """Tensors of memories and maps, under their names in the file."""
    tensors = {
        f"{name}.{part}.{cluster}": np.array(words, "<u4")
        for name, memory in zip(MEMORIES, (code, table), strict=True)
        for part, clusters in enumerate(memory)
        for cluster, words in enumerate(clusters)
    }
    return tensors | {f"map.{index}": np.array(places, "<i4") for index, places in enumerate(maps)}
