"""The network file: a safetensors container, read as untrusted input.

Every size is checked before anything of that size is made, every key and tensor must be expected,
and every fault is a `NetworkError`. Only this module knows the format (``docs/network-file.md``).
"""

import json
import os
import re
import stat
import struct
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from plum_hw.errors import NetworkError

from . import limits
from .layers import (
    Add,
    AvgPool,
    Conv,
    Dense,
    InputSpec,
    Layer,
    MaxPool,
    Requant,
    RequantLayer,
    WeightLayer,
)
from .limits import check_int, check_name, show, show_path
from .network import Network

FORMAT = "plum-network"
VERSION = 1

_OPS: dict[str, type[Layer]] = {cls.op: cls for cls in (Conv, Dense, AvgPool, MaxPool, Add)}
_COMMON = ("name", "op", "inputs")
_FIELDS = {
    "conv": ("scheme", "weight_bits", "stride", "padding", "groups"),
    "dense": ("scheme", "weight_bits"),
    "avgpool": ("kernel", "stride", "padding"),
    "maxpool": ("kernel", "stride", "padding"),
    "add": (),
}
_REQUANT_FIELDS = ("shift", "out_bits")
_DTYPES = {"I8": "<i1", "I32": "<i4", "I64": "<i8"}
_DTYPE_NAMES = {1: "I8", 4: "I32", 8: "I64"}
_TENSORS = ("scale", "bias", "window", "residual")

# Takes an unterminated string whole, so that the scan stays linear in any input.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


# ---- writing ----------------------------------------------------------------


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _layer_entry(layer: Layer) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": layer.name, "op": layer.op, "inputs": list(layer.inputs)}
    for key in _FIELDS[layer.op]:
        value = getattr(layer, key)
        entry[key] = list(value) if isinstance(value, tuple) else value
    if isinstance(layer, RequantLayer):
        for key in _REQUANT_FIELDS:
            entry[key] = getattr(layer.requant, key)
    return entry


def _layer_tensors(layer: Layer) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {}
    if isinstance(layer, WeightLayer):
        tensors[f"{layer.name}.weight"] = layer.weight
    if isinstance(layer, RequantLayer):
        for key in _TENSORS:
            value = getattr(layer.requant, key)
            if value is not None:
                tensors[f"{layer.name}.{key}"] = value
    return tensors


def dump_network(network: Network, *, digest: str | None) -> bytes:
    """Give the file's bytes: tensors by falling item size, then by name; JSON without blanks.

    ``digest`` None leaves that key out, which gives the bytes that the digest is taken of.
    """
    graph: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "name": network.name,
        "input": {
            "name": network.input.name,
            "shape": list(network.input.shape),
            "bits": network.input.bits,
        },
        "layers": [_layer_entry(layer) for layer in network.layers],
        "output": network.output,
    }
    if network.labels is not None:
        graph["labels"] = list(network.labels)
    if digest is not None:
        graph["digest"] = digest
    tensors: dict[str, NDArray[Any]] = {}
    for layer in network.layers:
        tensors.update(_layer_tensors(layer))
    header: dict[str, Any] = {"__metadata__": {"plum_network": _json(graph)}}
    offset = 0
    parts = []
    for name in sorted(tensors, key=lambda n: (-tensors[n].itemsize, n)):
        array = tensors[name]
        kind = _DTYPE_NAMES[array.itemsize]
        header[name] = {
            "dtype": kind,
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        parts.append(array.astype(_DTYPES[kind], copy=False).tobytes())
        offset += array.nbytes
    text = _json(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


# ---- reading ----------------------------------------------------------------


def _fail(message: str) -> NoReturn:
    raise NetworkError(message)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            _fail(f"key {show(key)} appears twice, must appear once")
        result[key] = value
    return result


def _parse_json(text: str, what: str) -> dict[str, Any]:
    """Parse an object after a check of its nesting; NetworkError for anything else."""
    depth = 0
    for match in _BRACKET.finditer(_STRING.sub("", text)):
        depth += 1 if match.group() in "[{" else -1
        if depth > limits.MAX_JSON_DEPTH:
            _fail(f"{what} is nested deeper than {limits.MAX_JSON_DEPTH} levels")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=lambda name: _fail(f"{what} holds {name}, must hold integers"),
        )
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "number out of range"
        _fail(f"{what} is not JSON ({reason}): the file is damaged or no network file")
    if not isinstance(value, dict):
        _fail(f"{what} is {show(value)}, must be an object")
    return value


def _check_keys(
    entry: Any, required: tuple[str, ...], optional: tuple[str, ...], what: str
) -> None:
    if not isinstance(entry, dict):
        _fail(f"{what} is {show(entry)}, must be an object")
    for key in entry:
        if key not in required and key not in optional:
            _fail(f"{what} has unknown key {show(key)}, must have {', '.join(required + optional)}")
    for key in required:
        if key not in entry:
            _fail(f"{what} lacks key {key!r}")


def _read_container(data: bytes) -> tuple[str, dict[str, NDArray[Any]]]:
    """Split a safetensors container into the graph's text and views of its tensors."""
    if len(data) > limits.MAX_FILE_BYTES:
        _fail(f"network file has {len(data)} bytes, must be at most {limits.MAX_FILE_BYTES}")
    if len(data) < 8:
        _fail(f"network file has {len(data)} bytes, too short for a safetensors header")
    (length,) = struct.unpack_from("<Q", data)
    if length > limits.MAX_HEADER_BYTES or length > len(data) - 8:
        _fail(
            f"header length is {length}, must be at most "
            f"{min(limits.MAX_HEADER_BYTES, len(data) - 8)}: the file is truncated or no network "
            "file"
        )
    try:
        text = data[8 : 8 + length].decode("utf-8")
    except UnicodeDecodeError:
        _fail("header is not UTF-8: the file is damaged or no network file")
    header = _parse_json(text, "header")
    metadata = header.pop("__metadata__", None)
    _check_keys(metadata, ("plum_network",), (), "metadata")
    graph = metadata["plum_network"]
    if not isinstance(graph, str):
        _fail(f"metadata plum_network is {show(graph)}, must be a string of JSON")
    if len(header) > 5 * limits.MAX_LAYERS:
        _fail(f"file has {len(header)} tensors, must have at most {5 * limits.MAX_LAYERS}")
    size = len(data) - 8 - length
    spans: list[tuple[int, int, str]] = []
    tensors: dict[str, NDArray[Any]] = {}
    for name, entry in header.items():
        what = f"tensor {show(name)}"
        _check_keys(entry, ("dtype", "shape", "data_offsets"), (), what)
        kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(kind, str) or kind not in _DTYPES:
            _fail(f"{what}: dtype is {show(kind)}, must be one of {', '.join(_DTYPES)}")
        if not isinstance(shape, list) or not 1 <= len(shape) <= 4:
            _fail(f"{what}: shape is {show(shape)}, must be a list of 1 to 4 sizes")
        if not isinstance(offsets, list) or len(offsets) != 2:
            _fail(f"{what}: data_offsets is {show(offsets)}, must be [begin, end]")
        begin = check_int(offsets[0], 0, size, f"{what}: data_offsets[0]")
        end = check_int(offsets[1], begin, size, f"{what}: data_offsets[1]")
        dtype = np.dtype(_DTYPES[kind])
        need = dtype.itemsize
        for extent in shape:
            need *= check_int(extent, 1, limits.MAX_FILE_BYTES, f"{what}: shape")
        if need != end - begin:
            _fail(
                f"{what}: shape {show(shape)} of {kind} needs {need} bytes, data_offsets give "
                f"{end - begin}"
            )
        spans.append((begin, end, name))
        tensors[name] = np.frombuffer(
            data, dtype, count=need // dtype.itemsize, offset=8 + length + begin
        ).reshape(shape)
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            _fail(
                f"tensor {show(name)} begins at byte {begin}, must begin at {position} (no gaps, "
                "no overlaps)"
            )
        position = end
    if position != size:
        _fail(f"tensors end at byte {position} of {size}: the file is damaged")
    return graph, tensors


def _read_layer(entry: Any, index: int, tensors: dict[str, NDArray[Any]]) -> Layer:
    """Build one layer and take its tensors out of ``tensors``."""
    if not isinstance(entry, dict):
        _fail(f"layers[{index}] is {show(entry)}, must be an object")
    name = check_name(entry.get("name"), f"layers[{index}]: name")
    what = f"layer {name}"
    op = entry.get("op")
    if not isinstance(op, str) or op not in _OPS:
        _fail(f"{what}: op is {show(op)}, must be one of {', '.join(_OPS)}")
    cls = _OPS[op]
    with_requant = issubclass(cls, RequantLayer)
    keys = _COMMON + _FIELDS[op] + (_REQUANT_FIELDS if with_requant else ())
    _check_keys(entry, keys, (), what)
    if not isinstance(entry["inputs"], list):
        _fail(f"{what}: inputs is {show(entry['inputs'])}, must be a list of names")
    arguments: dict[str, Any] = {key: entry[key] for key in _FIELDS[op]}

    def take(key: str, required: bool) -> NDArray[Any] | None:
        array = tensors.pop(f"{name}.{key}", None)
        if array is None and required:
            _fail(f"tensor {name}.{key} is missing")
        return None if array is None else array.astype(array.dtype.newbyteorder("="), copy=False)

    if issubclass(cls, WeightLayer):
        arguments["weight"] = take("weight", True)
    if with_requant:
        arguments["requant"] = Requant(
            scale=take("scale", True),  # type: ignore[arg-type]
            bias=take("bias", True),  # type: ignore[arg-type]
            window=take("window", False),
            residual=take("residual", len(entry["inputs"]) == 2),
            shift=entry["shift"],
            out_bits=entry["out_bits"],
        )
    return cls(name=name, inputs=tuple(entry["inputs"]), **arguments)


def loads_network(data: bytes | bytearray | memoryview) -> Network:
    """Read a network from the bytes of a network file.

    Raises `NetworkError` for anything that is not exactly such a file, contents that do not match
    the file's own ``digest`` included.
    """
    data = bytes(data)
    text, tensors = _read_container(data)
    graph = _parse_json(text, "plum_network")
    _check_keys(
        graph,
        ("format", "version", "name", "input", "layers", "output"),
        ("labels", "digest"),
        "plum_network",
    )
    if graph["format"] != FORMAT:
        _fail(f"format is {show(graph['format'])}, must be {FORMAT!r}")
    check_int(graph["version"], VERSION, VERSION, "version")
    _check_keys(graph["input"], ("name", "shape", "bits"), (), "input")
    entries = graph["layers"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= limits.MAX_LAYERS:
        count = len(entries) if isinstance(entries, list) else show(entries)
        _fail(f"layers: {count}, must be a list of 1 to {limits.MAX_LAYERS}")
    labels = graph.get("labels")
    if "labels" in graph and not isinstance(labels, list):
        _fail(f"labels is {show(labels)}, must be a list of strings")
    spec = InputSpec(**graph["input"])
    layers = tuple(_read_layer(entry, index, tensors) for index, entry in enumerate(entries))
    if tensors:
        _fail(f"tensor {show(min(tensors))} belongs to no layer")
    network = Network(
        name=graph["name"], input=spec, layers=layers, output=graph["output"], labels=labels
    )
    if "digest" in graph and graph["digest"] != network.digest():
        _fail(
            f"digest is {show(graph['digest'])}, the contents give {network.digest()}: the file is "
            "damaged"
        )
    return network


def load_network(path: str | os.PathLike[str]) -> Network:
    """Read a network file; `NetworkError`, naming the file, if that is not possible."""
    try:
        status = os.stat(path)  # before opening, which waits where the path is a pipe
        if stat.S_ISDIR(status.st_mode):
            _fail("is a directory, must be a network file")
        if not stat.S_ISREG(status.st_mode):
            _fail("is not a regular file")
        if status.st_size > limits.MAX_FILE_BYTES:
            _fail(f"has {status.st_size} bytes, must be at most {limits.MAX_FILE_BYTES}")
        with open(path, "rb") as file:
            data = file.read(limits.MAX_FILE_BYTES + 1)
        return loads_network(data)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or error
        raise NetworkError(f"{show_path(path)}: cannot be read: {reason}") from None
    except NetworkError as error:
        raise NetworkError(f"{show_path(path)}: {error}") from None
