"""The network file: exact round trips, and strictness with damaged or hostile files."""

import json
import os
import random
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plum_hw.errors import NetworkError
from plum_hw.ir import limits, load_network, loads_network
from plum_hw.ir.random import random_network

NETWORK = random_network(
    21, max_layers=6, max_channels=4, max_kernel=3, max_macs=20_000, logits=True
)
DATA = NETWORK.to_bytes()


def split(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Header without metadata, graph, tensor data."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    graph = json.loads(header.pop("__metadata__")["plum_network"])
    return header, graph, data[8 + length :]


def join(header: Any, graph: Any, body: bytes, metadata: Any = None) -> bytes:
    if metadata is None:
        metadata = {"plum_network": graph if isinstance(graph, str) else json.dumps(graph)}
    text = json.dumps({"__metadata__": metadata} | header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize("seed", range(30))
def test_round_trip(seed: int, tmp_path: Path) -> None:
    network = random_network(seed)
    data = network.to_bytes()
    again = loads_network(data)
    assert again == network
    assert hash(again) == hash(network)
    assert again.to_bytes() == data
    assert again.digest() == network.digest()
    path = tmp_path / "n.qnet"
    network.save(path)
    assert path.read_bytes() == data
    assert load_network(path) == network
    assert list(tmp_path.iterdir()) == [path]
    for layer, other in zip(network.layers, again.layers, strict=True):
        assert layer.name == other.name
        assert layer.inputs == other.inputs
        assert type(layer) is type(other)


def test_bytes_do_not_depend_on_construction() -> None:
    assert random_network(5).to_bytes() == random_network(5).to_bytes()
    assert random_network(5) != random_network(6)
    assert random_network(5) != 5


def test_other_tools_read_and_write_it(tmp_path: Path) -> None:
    tensors = safetensors.numpy.load(DATA)
    layer = NETWORK.layers[-1]
    np.testing.assert_array_equal(tensors[f"{layer.name}.weight"], layer.weight)  # type: ignore[attr-defined]
    _, graph, _ = split(DATA)
    path = tmp_path / "other.qnet"
    safetensors.numpy.save_file(tensors, path, {"plum_network": json.dumps(graph, indent=1)})
    assert load_network(path) == NETWORK
    del graph["digest"]  # it is optional
    safetensors.numpy.save_file(tensors, path, {"plum_network": json.dumps(graph)})
    assert load_network(path) == NETWORK


def refused_or_equal(data: bytes) -> bool:
    """True if refused with one line; any other outcome but the same network fails."""
    try:
        network = loads_network(data)
    except NetworkError as error:
        text = str(error)
        assert text
        assert "\n" not in text
        assert len(text) < 400
        return True
    assert network == NETWORK
    return False


def test_every_truncation() -> None:
    for size in range(len(DATA)):
        assert refused_or_equal(DATA[:size])
    for extra in (b"\0", b" ", DATA):
        assert refused_or_equal(DATA + extra)


def test_flips_of_every_byte() -> None:
    seed = 1
    print(f"seed {seed}")
    rng = random.Random(seed)
    for position in range(len(DATA)):
        damaged = bytearray(DATA)
        damaged[position] ^= 1 << rng.randrange(8)
        refused_or_equal(bytes(damaged))


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 40), st.binary(max_size=12)),
        min_size=1,
        max_size=5,
    )
)
def test_splices(edits: list[tuple[int, int, bytes]]) -> None:
    data = DATA
    for position, removed, inserted in edits:
        data = data[:position] + inserted + data[position + removed :]
    refused_or_equal(data)


@settings(max_examples=100, deadline=None, database=None)
@given(st.binary(max_size=200))
def test_noise(data: bytes) -> None:
    assert refused_or_equal(data)
    header = struct.pack("<Q", len(data)) + data
    assert refused_or_equal(header)


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-1, 9), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    if isinstance(value, dict):
        return [(value, k) for k in value] + [p for v in value.values() for p in places(v)]
    if isinstance(value, list):
        return [(value, k) for k in range(len(value))] + [p for v in value for p in places(v)]
    return []


@settings(max_examples=400, deadline=None, database=None)
@given(st.booleans(), st.integers(0, 10_000), values, st.sampled_from(["set", "drop", "rename"]))
def test_wrong_values_in_the_graph_and_header(
    in_graph: bool, where: int, value: Any, action: str
) -> None:
    """Any value of any type anywhere, with the digest left out so that nothing else saves us."""
    header, graph, body = split(DATA)
    del graph["digest"]
    spots = places(graph if in_graph else header)
    container, key = spots[where % len(spots)]
    if action == "set":
        container[key] = value
    elif action == "drop":
        del container[key]
    elif isinstance(container, dict):
        container[str(value)] = container.pop(key)
    with suppress(NetworkError):
        loads_network(join(header, graph, body))


def edit(change: Any) -> bytes:
    header, graph, body = split(DATA)
    return join(header, graph, change(header, graph, body) or body)


def first(header: dict[str, Any]) -> Any:
    return header[min(header, key=lambda n: header[n]["data_offsets"][0])]


CASES: dict[str, tuple[Any, str]] = {
    "empty": (b"", "network file has 0 bytes, too short"),
    "header length": (struct.pack("<Q", 1 << 60) + b"{}", "header length is 1152921504606846976"),
    "utf-8": (struct.pack("<Q", 2) + b"\xff\xff", "header is not UTF-8"),
    "not JSON": (struct.pack("<Q", 2) + b"{]", "header is not JSON"),
    "array": (struct.pack("<Q", 2) + b"[]", "header is [], must be an object"),
    "deep": (struct.pack("<Q", 100_000) + b"[" * 100_000, "nested deeper than 8 levels"),
    "long integer": (
        struct.pack("<Q", 10_008) + b'{"a": ' + b"1" * 10_000 + b" }",
        "number out of range",
    ),
    "no metadata": (struct.pack("<Q", 2) + b"{}", "metadata is None, must be an object"),
    "metadata key": (
        join({}, None, b"", {"plum_network": "{}", "format": "pt"}),
        "metadata has unknown key 'format', must have plum_network",
    ),
    "metadata type": (join({}, None, b"", {"plum_network": {}}), "must be a string of JSON"),
    "graph type": (join({}, "[]", b""), "plum_network is [], must be an object"),
    "graph deep": (join({}, "[" * 5000, b""), "plum_network is nested deeper"),
    "NaN": (join({}, '{"a": NaN}', b""), "plum_network holds NaN, must hold integers"),
    "duplicate": (join({}, '{"a": 1, "a": 1}', b""), "key 'a' appears twice"),
    "version": (edit(lambda h, g, b: g.update(version=2)), "version is 2, must be an integer from"),
    "format": (edit(lambda h, g, b: g.update(format="x")), "format is 'x', must be 'plum-network'"),
    "unknown key": (edit(lambda h, g, b: g.update(extra=1)), "unknown key 'extra'"),
    "missing key": (edit(lambda h, g, b: g.pop("output") and None), "lacks key 'output'"),
    "layer key": (
        edit(lambda h, g, b: g["layers"][0].update(dilation=1)),
        "has unknown key 'dilation', must have name, op, inputs",
    ),
    "layer type": (edit(lambda h, g, b: g.update(layers=[3])), "layers[0] is 3, must be an object"),
    "layers": (edit(lambda h, g, b: g.update(layers=[])), "layers: 0, must be a list of 1 to 1024"),
    "op": (edit(lambda h, g, b: g["layers"][0].update(op="lstm")), "op is 'lstm', must be one of"),
    "op type": (edit(lambda h, g, b: g["layers"][0].update(op=[])), "op is [], must be one of"),
    "inputs": (edit(lambda h, g, b: g["layers"][0].update(inputs="image")), "inputs is 'image'"),
    "labels": (edit(lambda h, g, b: g.update(labels="ab")), "labels is 'ab', must be a list"),
    "digest": (edit(lambda h, g, b: g.update(digest="0")), "digest is '0', the contents give"),
    "dtype": (
        edit(lambda h, g, b: first(h).update(dtype="F64")),
        "dtype is 'F64', must be one of I8, I32, I64",
    ),
    "shape": (
        edit(lambda h, g, b: first(h).update(shape=[1 << 40])),
        "shape is 1099511627776, must be an integer from 1 to",
    ),
    "tensor size": (edit(lambda h, g, b: first(h).update(shape=[77])), "of I64 needs 616 bytes"),
    "offsets": (
        edit(lambda h, g, b: first(h).update(data_offsets=[0, 1 << 50])),
        "data_offsets[1] is 1125899906842624",
    ),
    "rank": (edit(lambda h, g, b: first(h).update(shape=[])), "shape is [], must be a list of 1"),
    "unknown tensor": (
        edit(
            lambda h, g, b: (
                h.update(x={"dtype": "I8", "shape": [1], "data_offsets": [len(b), len(b) + 1]})
                or b + b"\0"
            )
        ),
        "tensor 'x' belongs to no layer",
    ),
    "gap": (
        edit(
            lambda h, g, b: (
                h.update(x={"dtype": "I8", "shape": [1], "data_offsets": [len(b) + 1, len(b) + 2]})
                or b + b"\0\0"
            )
        ),
        "(no gaps, no overlaps)",
    ),
    "tail": (edit(lambda h, g, b: b + b"\0"), "the file is damaged"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str) -> None:
    data, message = CASES[case]
    with pytest.raises(NetworkError) as caught:
        loads_network(data)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tensor", ["weight", "scale", "bias"])
def test_missing_tensor(tensor: str) -> None:
    name = f"{NETWORK.layers[-1].name}.{tensor}"
    header, graph, body = split(DATA)
    begin, end = header.pop(name)["data_offsets"]
    for entry in header.values():
        if entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [n - (end - begin) for n in entry["data_offsets"]]
    with pytest.raises(NetworkError, match=f"tensor {name} is missing"):
        loads_network(join(header, graph, body[:begin] + body[end:]))


def test_changed_weight_is_found() -> None:
    damaged = bytearray(DATA)
    damaged[-1] ^= 1
    with pytest.raises(NetworkError, match=r"digest is|must be"):
        loads_network(bytes(damaged))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"missing\.qnet: cannot be read: No such file"):
        load_network(tmp_path / "missing.qnet")
    with pytest.raises(NetworkError, match="is a directory, must be"):
        load_network(tmp_path)
    with pytest.raises(NetworkError, match=r"cannot write .*: No such file"):
        NETWORK.save(tmp_path / "no" / "n.qnet")
    path = tmp_path / "n.qnet"
    path.write_bytes(DATA[:100])
    with pytest.raises(NetworkError, match=r"n\.qnet: header length is \d+, must be at most 92"):
        load_network(path)
    with pytest.raises(NetworkError, match="not a regular file"):
        load_network("/dev/null")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(NetworkError, match="not a regular file"):
        load_network(pipe)
    for wrong in ("", "a\0b", path / "below"):
        with pytest.raises(NetworkError, match=r"cannot be read|is a directory"):
            load_network(wrong)
        with pytest.raises(NetworkError, match="cannot write"):
            NETWORK.save(wrong)


@pytest.mark.parametrize("unit", [b'"', b'\\"', b'"\\"', b"\\", b"[]", b"{", b"1,", b'"",'])
def test_hostile_headers_take_no_time(unit: bytes) -> None:
    text = b'{"a":' + unit * ((limits.MAX_HEADER_BYTES - 8) // len(unit))
    for start in (text, b'"' + text[1:]):
        began = time.monotonic()
        with pytest.raises(NetworkError):
            loads_network(struct.pack("<Q", len(start)) + start)
        assert time.monotonic() - began < 10


def test_large_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.qnet"
    with path.open("wb") as file:
        file.truncate(limits.MAX_FILE_BYTES + 1)  # sparse
    with pytest.raises(NetworkError, match="has 268435457 bytes, must be at most 268435456"):
        load_network(path)
