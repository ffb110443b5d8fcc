"""Bundles: a network compiled for one array, in one file (`.plum`).

The host writes words and looks up places; it never packs. Ref: docs/architecture.md, "Bundle".
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
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
from plum_host.errors import BundleError, ImageError, PlumHostError
from plum_host.manifest import FORMAT, MEMORIES, VERSION, check_manifest, tensor_sum
from plum_host.protocol import SPACE_BYTES, Space

GROUP_BYTES = 8
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
    memories from address 0 on, uint32; ``input_map`` [clusters, words*8]: for each byte of the
    ACTIVATION words that the host writes to a cluster the pixel's index in (C, H, W) order, or -1
    for zero; ``output_map``: for each element of an output map the offset of its byte in the words
    of all clusters, one after the other, None for logits.
    """

    manifest: dict[str, Any]
    code: Memory
    table: Memory
    input_map: Map
    output_map: Map | None

    # ---- making, reading, writing ----------------------------------------------------------------

    @classmethod
    def build(
        cls,
        manifest: dict[str, Any],
        *,
        code: Sequence[Sequence[npt.ArrayLike]],
        table: Sequence[Sequence[npt.ArrayLike]],
        input_map: npt.NDArray[Any],
        output_map: npt.NDArray[Any] | None,
    ) -> Bundle:
        """Make one of a manifest (without ``format``, ``version`` and ``sha256``) and arrays.

        Raises `BundleError` where they do not belong together.
        """
        tensors = _named(code, table)
        tensors["input_map"] = np.array(input_map, "<i4")
        if output_map is not None:
            tensors["output_map"] = np.array(output_map, "<i4")
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
        output_map = tensors.get("output_map")
        return cls(
            manifest,
            code,
            table,
            _frozen(tensors["input_map"], "<i4"),
            None if output_map is None else _frozen(output_map, "<i4"),
        )

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
        tensors = _named(self.code, self.table)
        tensors["input_map"] = self.input_map
        if self.output_map is not None:
            tensors["output_map"] = self.output_map
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

    # ---- images and outputs ----------------------------------------------------------------------

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

    def pack_image(self, image: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """ACTIVATION words of an image uint8 (C, H, W): uint8 [clusters, words, 8].

        Raises `ImageError`: type, shape or range.
        """
        result: npt.NDArray[np.uint8] = self.pack_images(np.asarray(image)[None])[0]
        return result

    def pack_images(self, images: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """ACTIVATION words of images uint8 [N, C, H, W]: uint8 [N, clusters, words, 8].

        Raises `ImageError`: type, shape or range.
        """
        images = self.check_images(images)
        count, pixels = len(images), int(np.prod(images.shape[1:]))
        flat = np.zeros((count, pixels + 1), np.uint8)
        flat[:, :pixels] = images.reshape(count, pixels)
        # Index -1, a zero, is the last column.
        shape = (len(self.input_map), self.manifest["input"]["words"], GROUP_BYTES)
        return flat[:, self.input_map].reshape(count, *shape)

    @property
    def output_range(self) -> tuple[Space, int, int]:
        """Where the output of a run is in each cluster that has some of it: space, address, words;
        results are the device's.
        """
        output = self.manifest["output"]
        if output["kind"] == "logits":
            return Space.RESULT, 0, output["shape"][0]
        return Space.ACTIVATION, output["address"], output["words"]

    @property
    def output_ranges(self) -> list[tuple[Space, int, int, int]]:
        """What is read after a run: space, cluster, address, words."""
        space, address, words = self.output_range
        return [(space, cluster, address, words) for cluster in self._output_clusters()]

    def _output_clusters(self) -> list[int]:
        """Clusters that are read."""
        if self.output_map is None:
            return [0]
        used = np.unique(self.output_map // (GROUP_BYTES * self.manifest["output"]["words"]))
        return [int(cluster) for cluster in used]

    def unpack_output(self, data: bytes) -> npt.NDArray[Any]:
        """The output from the bytes at `output_ranges`, one after the other: int32 logits [K], or a
        uint8 map (C, H, W).

        Raises `PlumHostError` for another number of bytes.
        """
        clusters = self._output_clusters()
        space, _, words = self.output_range
        size = SPACE_BYTES[space] * words
        if len(data) != len(clusters) * size:
            raise PlumHostError(
                f"an output of {len(data)} bytes; the network's has {len(clusters) * size}"
            )
        if self.output_map is None:
            return np.frombuffer(data, "<i4").astype(np.int32)
        place = np.searchsorted(clusters, self.output_map // size) * size + self.output_map % size
        return np.frombuffer(data, np.uint8)[place].reshape(self.manifest["output"]["shape"])


def _named(
    code: Sequence[Sequence[npt.ArrayLike]], table: Sequence[Sequence[npt.ArrayLike]]
) -> Tensors:
    """Tensors of the memories, under their names in the file."""
    return {
        f"{name}.{part}.{cluster}": np.array(words, "<u4")
        for name, memory in zip(MEMORIES, (code, table), strict=True)
        for part, clusters in enumerate(memory)
        for cluster, words in enumerate(clusters)
    }
