"""Safetensors containers, written byte for byte the same and read as untrusted input.

Nothing of a size that the file claims is made before that size is checked against the file's own.
"""

from __future__ import annotations

import json
import re
import struct
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from plum_host.errors import BundleError

MAX_FILE_BYTES = 64 << 20
MAX_HEADER_BYTES = 4 << 20
MAX_DEPTH = 8
#: Two for each part and cluster, and the maps.
MAX_TENSORS = 1 << 14

Tensors = dict[str, npt.NDArray[Any]]

_NAMES = {np.dtype("<u4"): "U32", np.dtype("<i4"): "I32"}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_DAMAGED = "the file is damaged or no bundle: copy or compile it again"


def fail(message: str, remedy: str = _DAMAGED) -> NoReturn:
    """Raise `BundleError`: what is wrong, and what to do."""
    raise BundleError(f"{message}; {remedy}")


def show(value: Any) -> str:
    """A value from outside in at most 60 printable characters."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    text = ascii(value if not isinstance(value, str) else value[:60])
    return text if len(text) <= 60 else text[:57] + "..."


def canonical_json(value: Any) -> str:
    """JSON text, the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse_json(text: str, what: str) -> dict[str, Any]:
    """Parse an object: nesting limited, no key twice, no infinities."""
    depth = 0
    for character in _STRING.sub("", text):
        depth += (character in "[{") - (character in "]}")
        if depth > MAX_DEPTH:
            fail(f"{what} is nested deeper than {MAX_DEPTH} levels")
    try:
        value = json.loads(
            text,
            object_pairs_hook=lambda pairs: _unique(pairs, what),
            parse_constant=lambda name: fail(f"{what} holds {name}"),
        )
    except (ValueError, RecursionError):
        fail(f"{what} is not JSON")
    if not isinstance(value, dict):
        fail(f"{what} is {show(value)}, not an object")
    return value


def _unique(pairs: list[tuple[str, Any]], what: str) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        fail(f"{what} holds a key twice")
    return result


def check_keys(entry: Any, keys: tuple[str, ...], what: str) -> dict[str, Any]:
    """Return an object that has exactly these keys."""
    if not isinstance(entry, dict):
        fail(f"{what} is {show(entry)}, not an object")
    if set(entry) != set(keys):
        wrong = sorted(map(str, set(entry) ^ set(keys)))
        fail(f"{what} has missing or unknown keys: {show(', '.join(wrong))}")
    return entry


def check_int(value: Any, low: int, high: int, what: str) -> int:
    """Return an integer within a range (a bool is none)."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        fail(f"{what} is {show(value)}; it must be an integer from {low} to {high}")
    return value


def dump(metadata: dict[str, str], tensors: Tensors) -> bytes:
    """The container's bytes: tensors by name, header padded to eight bytes."""
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    parts = []
    for name in sorted(tensors):
        data = tensors[name].tobytes()
        header[name] = {
            "dtype": _NAMES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + len(data)],
        }
        offset += len(data)
        parts.append(data)
    text = canonical_json(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def parse(data: bytes) -> tuple[dict[str, Any], Tensors]:
    """Metadata and tensors (one or two axes, views of ``data``). Raises `BundleError`."""
    if not 8 <= len(data) <= MAX_FILE_BYTES:
        fail(f"the file has {len(data)} bytes; a bundle has 8 to {MAX_FILE_BYTES}")
    (length,) = struct.unpack_from("<Q", data)
    limit = min(MAX_HEADER_BYTES, len(data) - 8)
    if length > limit:
        fail(f"its header claims {length} bytes of at most {limit}")
    try:
        text = data[8 : 8 + length].decode()
    except UnicodeDecodeError:
        fail("its header is no text")
    header = parse_json(text, "its header")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict):
        fail("its header has no metadata")
    if len(header) > MAX_TENSORS:
        fail(f"it holds {len(header)} tensors; a bundle has at most {MAX_TENSORS}")
    body = memoryview(data)[8 + length :]
    tensors: Tensors = {}
    end = 0
    for name, begin, stop, dtype, shape in sorted(
        (_span(name, entry, len(body)) for name, entry in header.items()),
        key=lambda span: (span[1], span[2]),
    ):
        if begin != end:
            fail(f"tensor {show(name)} begins at byte {begin} and not at {end}")
        tensors[name] = np.frombuffer(body[begin:stop], dtype).reshape(shape)
        end = stop
    if end != len(body):
        fail(f"its tensors end at byte {end} of {len(body)}")
    return metadata, tensors


def _span(name: str, entry: Any, size: int) -> tuple[str, int, int, np.dtype[Any], list[int]]:
    what = f"tensor {show(name)}"
    check_keys(entry, ("dtype", "shape", "data_offsets"), what)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        fail(f"{what} has dtype {show(dtype)}; it must be one of {', '.join(_DTYPES)}")
    if not isinstance(shape, list) or len(shape) not in (1, 2):
        fail(f"{what} has shape {show(shape)}; it must have one or two axes")
    if not isinstance(offsets, list) or len(offsets) != 2:
        fail(f"{what} has offsets {show(offsets)}; they must be two")
    begin = check_int(offsets[0], 0, size, f"{what}: its begin")
    stop = check_int(offsets[1], begin, size, f"{what}: its end")
    count = 1
    for length in shape:
        count *= check_int(length, 0, size, f"{what}: its length")
    if stop - begin != count * _DTYPES[dtype].itemsize:
        fail(f"{what} has {stop - begin} bytes for {count} values")
    return name, begin, stop, _DTYPES[dtype], shape
