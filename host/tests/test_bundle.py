"""Bundles: written the same always; whatever is damaged is one clear error."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plum_host.bundle import Bundle
from plum_host.container import MAX_FILE_BYTES, canonical_json, dump
from plum_host.errors import BundleError, ImageError, PlumHostError
from plum_host.manifest import config_digest
from plum_host.protocol import Space
from plum_host.steps import Read, Turn, Write, no_output, turns

CONFIG = {
    "name": "test",
    "clusters": 2,
    "write_buses": 2,
    "lanes": 16,
    "group_lanes": 8,
    "act_bits": 8,
    "act_depth": 64,
    "code_depth": 64,
    "mask_bits": 32,
    "table_depth": 48,
    "acc_bits": 16,
    "result_depth": 32,
    "layer_counters": 64,
    "packet_bytes": 1040,
    "queue_bytes": 4096,
}
MEMORIES = ("code", "table")
#: Keys that `Bundle.build` adds to a manifest.
ADDED = ("format", "version", "sha256")


LAYER = {
    "name": "conv0",
    "op": "conv",
    "cycles": 100,
    "beats": 70,
    "drain_stalls": 3,
    "emit_stalls": 0,
    "macs": 1000,
    "density": 0.35,
    "group": 2,
    "lane_use": 0.5,
    "bound_by": "lanes",
    "split": [2, 1],
    "layout": [{"base": 3, "cleared": False}],
}


def make(kind: str = "logits", **changes: Any) -> Bundle:
    """A bundle of two layers, each a part, for two clusters.

    The image's first row and half of the second are in cluster 0, the second row in cluster 1.
    """
    rng = np.random.default_rng(1)
    maps = [np.full((2, 32), -1, np.int32)]
    maps[0][0, [0, 1, 2, 8, 9]] = range(5)
    maps[0][1, [0, 1, 2]] = range(3, 6)
    places = [{"address": 2, "words": 4}]
    output: dict[str, Any] = {"kind": "logits", "shape": [4, 1, 1]}
    steps = [
        {"part": 0, "writes": [[0, 0]], "reads": [], "results": []},
        {"part": 1, "writes": [], "reads": [], "results": [[4, 8]]},
    ]
    if kind == "map":
        output = {"kind": "map", "shape": [2, 1, 2], "bits": 8}
        maps.append(np.full((2, 16), -1, np.int32))
        maps[1][[0, 0, 1, 1], [0, 1, 8, 9]] = range(4)
        places.append({"address": 6, "words": 2})
        steps[1] |= {"reads": [[1, 8]], "results": []}
    manifest = {
        "config": dict(CONFIG),
        "digest": config_digest(CONFIG),
        "network": {"name": "net", "digest": "0" * 64},
        "host_bytes": 24,
        "input": {"shape": [1, 2, 3], "bits": 4, "at": 0, "margins": [0, 0, 0, 0]},
        "output": {**output, "at": 8, "margins": [0, 0, 0, 0]},
        "maps": places,
        "steps": steps,
        "tensors": [],
        "labels": ["a", "b", "c", "d"] if kind == "logits" else None,
        "layers": [LAYER, {**LAYER, "name": "dense1", "density": None, "layout": None}],
        "parts": [{"layers": 1}, {"layers": 1}],
        "predicted_cycles": 200,
        **changes,
    }
    code, table = (
        [[rng.integers(0, 1 << 32, size, dtype=np.uint32) for size in sizes] for sizes in parts]
        for parts in (((20, 21), (22, 1)), ((30, 0), (31, 32)))
    )
    return Bundle.build(manifest, code=code, table=table, maps=maps)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert text
    assert "\n" not in text
    assert len(text) < 400
    assert "; " in text, "says what to do"
    return text


# ---- round trips -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["logits", "map"])
def test_round_trip_is_exact_and_deterministic(kind, tmp_path):
    bundle = make(kind)
    data = bundle.to_bytes()
    assert data == make(kind).to_bytes()
    again = Bundle.from_bytes(data)
    assert again == bundle
    assert again.to_bytes() == data
    assert again.manifest == bundle.manifest
    assert again.parts == (1, 1)
    for memory in MEMORIES:
        for part, same in zip(getattr(again, memory), getattr(bundle, memory), strict=True):
            for words, written in zip(part, same, strict=True):
                assert words.dtype == np.uint32
                assert not words.flags.writeable
                assert np.array_equal(words, written)
    path = tmp_path / "x.plum"
    bundle.save(path)
    assert path.read_bytes() == data
    assert Bundle.load(path) == bundle
    assert os.listdir(tmp_path) == ["x.plum"]


def test_safetensors_reads_what_we_write(tmp_path):
    from safetensors.numpy import load_file

    make("map").save(tmp_path / "x.plum")
    tensors = load_file(tmp_path / "x.plum")
    names = {f"{name}.{part}.{cluster}" for name in MEMORIES for part in "01" for cluster in "01"}
    assert set(tensors) == names | {"map.0", "map.1"}
    assert (tensors["code.1.0"] == make("map").code[1][0]).all()
    assert tensors["map.0"].shape == (2, 32)


# ---- images and outputs ----------------------------------------------------------------------


def play(bundle: Bundle, image: Any, answer: bytes = bytes(range(256))) -> tuple[Any, list[Turn]]:
    """Output, and turns, with a device that answers every read with the same bytes."""
    run = turns(bundle, image)
    seen = [next(run)]
    while True:
        try:
            seen.append(run.send([answer[: read.size] for read in seen[-1].reads]))
        except StopIteration as end:
            return end.value, seen


def test_images_are_looked_up_not_packed():
    bundle = make()
    image = np.arange(6, dtype=np.uint8).reshape(1, 2, 3) + 1
    _, (first, second) = play(bundle, image)
    assert (first.part, first.reads) == (0, ())
    assert (second.part, second.writes) == (1, ())
    data = [bytes([1, 2, 3, 0, 0, 0, 0, 0, 4, 5] + [0] * 22), bytes([4, 5, 6] + [0] * 29)]
    assert first.writes == tuple(Write(cluster, 2, data[cluster]) for cluster in (0, 1))


def test_margins_are_zeros():
    """The same image in the midst of zeros; a map may be used at several places."""
    bundle = make(
        host_bytes=64,
        input={"shape": [1, 2, 3], "bits": 4, "at": 30, "margins": [1, 1, 2, 1]},
        steps=[
            {"part": 0, "writes": [[0, 30], [0, 38]], "reads": [], "results": []},
            {"part": 1, "writes": [], "reads": [], "results": [[4, 8]]},
        ],
    )
    image = np.arange(6, dtype=np.uint8).reshape(1, 2, 3) + 1
    whole = np.pad(image[0], ((1, 1), (2, 1))).ravel()
    _, (first, _) = play(bundle, image)
    for number, offset in ((0, 0), (2, 8)):
        data = np.frombuffer(first.writes[number].data, np.uint8)
        assert data[[0, 1, 2, 8, 9]].tolist() == whole[offset : offset + 5].tolist()
        assert not data[10:].any()


def test_what_was_read_can_be_written_again():
    """Reads of a step end in host memory, where the next step finds them."""
    steps = [
        {"part": 0, "writes": [[0, 0]], "reads": [[1, 2]], "results": []},
        {"part": 1, "writes": [[0, 0]], "reads": [[1, 8]], "results": []},
    ]
    bundle = make("map", steps=steps)
    output, (_, second) = play(bundle, np.zeros((1, 2, 3), np.uint8))
    # Cluster 0 gives bytes 0 and 1, cluster 1 bytes 8 and 9; places 2 to 5 of host memory.
    assert list(second.writes[0].data[:10]) == [0, 0, 0, 0, 0, 0, 0, 0, 1, 8]
    assert output.ravel().tolist() == [0, 1, 8, 9]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 1, 2, 3), np.float32), "images are float32; the network takes uint8"),
        (np.zeros((2, 1, 3, 3), np.uint8), r"shape \(1, 3, 3\); the network takes \(1, 2, 3\)"),
        (np.zeros((1, 2, 3), np.uint8), r"shape \(2, 3\); the network takes \(1, 2, 3\)"),
        (np.zeros((), np.uint8), r"shape \(\); the network takes"),
        (np.full((1, 1, 2, 3), 16, np.uint8), "the value 16; the network takes 0 to 15"),
    ],
)
def test_other_images_are_refused(images, message):
    with pytest.raises(ImageError, match=message):
        make().check_images(images)


def test_outputs():
    bundle = make()
    image = np.zeros((1, 2, 3), np.uint8)
    values = np.array([1, -2, 1 << 30, -(1 << 31)], "<i4")
    logits, (_, last) = play(bundle, image, values.tobytes())
    assert last.reads == (Read(Space.RESULT, 0, 0, 4),)
    assert logits.dtype == np.int32
    assert (logits == values).all()
    assert no_output(bundle).shape == (0, 4)
    bundle = make("map")
    output, (_, last) = play(bundle, image)
    assert last.reads == tuple(Read(Space.ACTIVATION, cluster, 6, 2) for cluster in (0, 1))
    assert output.shape == (2, 1, 2)
    assert output.ravel().tolist() == [0, 1, 8, 9]
    assert no_output(bundle).shape == (0, 2, 1, 2)
    run = turns(bundle, image)
    next(run)
    run.send(())
    with pytest.raises(PlumHostError, match="31 bytes were read; the step has 32"):
        run.send([bytes(16), bytes(15)])


def test_clusters_without_outputs_are_not_read():
    bundle = make("map")
    places = bundle.maps[1].copy()
    places[0] = -1
    places[1, [0, 1]] = [0, 1]
    moved = Bundle.build(
        {key: bundle.manifest[key] for key in bundle.manifest if key not in ADDED},
        code=bundle.code,
        table=bundle.table,
        maps=[bundle.maps[0], places],
    )
    output, (_, last) = play(moved, np.zeros((1, 2, 3), np.uint8))
    assert last.reads == (Read(Space.ACTIVATION, 1, 6, 2),)
    assert output.ravel().tolist() == [0, 1, 8, 9]


# ---- damage ----------------------------------------------------------------------------------

DATA = {kind: make(kind).to_bytes() for kind in ("logits", "map")}


# How long an example takes depends on what else the machine does.
@settings(deadline=None)
@given(st.sampled_from(["logits", "map"]), st.data())
def test_any_flipped_bit_is_seen(kind, data):
    original = DATA[kind]
    bit = data.draw(st.integers(0, 8 * len(original) - 1))
    damaged = bytearray(original)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BundleError) as error:
        Bundle.from_bytes(bytes(damaged))
    one_line(error)


@pytest.mark.parametrize("bit_of_byte", [0, 1, 5])
def test_flipped_bits_of_the_whole_header_are_seen(bit_of_byte):
    """Each byte of it: bits that turn digits, letters and brackets into others."""
    original = DATA["map"]
    (length,) = struct.unpack_from("<Q", original)
    for bit in range(bit_of_byte, 8 * (8 + length), 8):
        damaged = bytearray(original)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert Bundle.from_bytes(bytes(damaged)) == make("map")
        except BundleError:
            continue


@given(st.integers(0, len(DATA["map"]) - 1))
def test_any_truncation_is_seen(length):
    with pytest.raises(BundleError) as error:
        Bundle.from_bytes(DATA["map"][:length])
    one_line(error)


@given(st.binary(max_size=200))
def test_noise_is_seen(data):
    for content in (data, struct.pack("<Q", len(data)) + data, DATA["map"] + data + b"x"):
        with pytest.raises(BundleError):
            Bundle.from_bytes(content)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in a manifest."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in inner:
        found.append((*path, key))
        if isinstance(item, dict | list):
            found += places(item, (*path, key))
    return found


def tensors_of(bundle: Bundle) -> dict[str, Any]:
    tensors = {f"map.{number}": places for number, places in enumerate(bundle.maps)}
    for name in MEMORIES:
        for part, clusters in enumerate(getattr(bundle, name)):
            for cluster, words in enumerate(clusters):
                tensors[f"{name}.{part}.{cluster}"] = words
    return tensors


def signed(manifest: Any, bundle: Bundle) -> bytes:
    """A file with another manifest and the right checksum over it."""
    text = json.dumps(manifest)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return dump({"plum_bundle": text, "plum_sha256": checksum}, tensors_of(bundle))


# How long an example takes depends on what else the machine does.
@settings(deadline=None)
@given(st.sampled_from(["logits", "map"]), st.data())
def test_any_other_manifest_is_checked(kind, data):
    """Whoever can compute checksums can write any manifest: it is an error, or it is harmless."""
    bundle = make(kind)
    manifest = copy.deepcopy(bundle.manifest)
    path = data.draw(st.sampled_from(places(manifest)))
    target = manifest
    for key in path[:-1]:
        target = target[key]
    if data.draw(st.booleans()):
        target[path[-1]] = data.draw(_JSON)
    else:
        del target[path[-1]]
    try:
        read = Bundle.from_bytes(signed(manifest, bundle))
    except BundleError:
        return
    assert sum(read.parts) == len(read.manifest["layers"])
    output, _ = play(read, np.zeros(read.manifest["input"]["shape"], np.uint8))
    assert output.size == np.prod(read.manifest["output"]["shape"])


def changed(kind: str, **values: Any) -> bytes:
    """A file with manifest entries changed (``a__b`` is entry b of a), checksums right."""
    bundle = make(kind)
    manifest = copy.deepcopy(bundle.manifest)
    for path, value in values.items():
        *outer, last = path.split("__")
        target: Any = manifest
        for key in outer:
            target = target[int(key) if key.isdigit() else key]
        target[last] = value
    if any(path.startswith("config__") for path in values):
        manifest["digest"] = config_digest(manifest["config"])
    return signed(manifest, bundle)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "zip"}, "format is 'zip' and not 'plum-bundle'"),
        ({"version": 1}, "format version is 1 and this program reads 3; compile"),
        ({"digest": "0" * 32}, "digest is '0+' and not that of its array"),
        ({"config__lanes": 12}, "lanes is 12; it must be a multiple of 8"),
        ({"config__lanes": 1 << 40}, "lanes is 1099511627776; it must be an integer from 8"),
        ({"config__act_depth": 2}, r"maps\[0\]: address is 2"),
        ({"config__act_depth": 1}, r"maps\[0\]: words is 4"),
        ({"config__code_depth": 21}, "length of code.1.0 is 22; it must be .* 1 to 21"),
        ({"config__table_depth": 31}, "length of table.1.1 is 32; it must be .* 0 to 31"),
        (
            {"config__clusters": 1, "layers__0__split": [1, 1], "layers__1__split": [1, 1]},
            "missing or unknown: 'code.0.1, code.1.1, table.0.1",
        ),
        ({"config__clusters": 3}, "10 tensors are too few for 2 parts of 3 clusters"),
        ({"parts": []}, r"parts is \[\]; it must be a list of 1 to 2"),
        ({"parts": [{"layers": 2}]}, "missing or unknown: 'code.1.0, code.1.1, table.1.0"),
        ({"parts__0__layers": 2}, "parts have 3 layers; they must have 2"),
        ({"steps__1__part": 0}, "no step runs part 1"),
        ({"steps__1__part": 2}, r"steps\[1\]: part is 2; it must be .* 0 to 1"),
        ({"steps": []}, r"steps is \[\]; it must be a list of 1 to 65536"),
        ({"steps__0__writes": [[0, 19]]}, r"place of writes is 19; it must be .* 0 to 18"),
        ({"steps__0__writes": [[0, -1]]}, "place of writes is -1"),
        ({"steps__0__writes": [[2, 0]]}, r"steps\[0\]: writes is 2; it must be .* 0 to 1"),
        ({"steps__0__writes": [[0]]}, r"writes holds \[0\]; it must be pairs of integers"),
        ({"steps__0__writes": [[0, 0]] * 17}, "writes is .*; it must be a list of up to 16"),
        ({"steps__1__reads": [[1, 21]]}, r"place of reads is 21; it must be .* 0 to 20"),
        ({"steps__1__results": [[33, 0]]}, r"results is 33; it must be .* 1 to 32"),
        ({"steps__1__results": [[4, 9]]}, r"place of results is 9; it must be .* 0 to 8"),
        ({"tensors": [{"name": "a"}]}, r"tensors\[0\] has missing or unknown keys: 'at, margins"),
        ({"tensors": 5}, "tensors is 5; it must be a list of up to 4096"),
        ({"host_bytes": 1 << 30}, "host_bytes is 1073741824; it must be"),
        ({"parts__1__layers": 0}, r"parts\[1\]: layers is 0; it must be .* 1 to 2"),
        ({"layers__0__split": [1]}, "it must be two integers, of rows and filters"),
        ({"layers__0__split": [2, 2]}, "filter parts is 2; it must be an integer from 1 to 1"),
        ({"layers__0__layout": []}, r"layout is \[\]; it must be a list of 1 to 64 objects"),
        ({"layers__0__layout": [1]}, "layout is 1, not an object"),
        ({"layers__0__layout__0__base": -1}, r"layers\[0\]: base is -1"),
        ({"layers__0__group": 3}, r"group is 3; it must be an integer from 1 to 2"),
        ({"input__shape": [1, 5, 5]}, "input: bytes in host memory is 25; .* 1 to 24"),
        ({"input__margins": [9, 9, 9, 9]}, "input: bytes in host memory is 420"),
        ({"input__margins": [1, 1]}, r"input: margins is \[1, 1\]; it must be four integers"),
        ({"input__margins": [65, 0, 0, 0]}, "input: margins is 65"),
        ({"input__at": 19}, "input: at is 19; it must be an integer from 0 to 18"),
        ({"output__at": 21}, "output: at is 21; it must be an integer from 0 to 20"),
        ({"output__kind": "sound"}, "kind is 'sound'; it must be 'logits' or 'map'"),
        ({"maps__0__words": 5}, r"map.0 has shape \(2, 32\) and must have \(2, 40\)"),
        ({"maps__1__address": 127}, r"maps\[1\]: address is 127; .* 0 to 126"),
        ({"maps": []}, r"maps is \[\]; it must be a list of 1 to 4096"),
        ({"maps": [{"address": 2, "words": 4}]}, "missing or unknown: 'map.1'"),
        ({"labels": ["x"]}, "it must be 2 strings"),
        ({"layers": []}, "layers is .*; it must be a list of 1 to 4096"),
        ({"layers__0__cycles": -1}, r"layers\[0\]: cycles is -1"),
        ({"layers__0__lane_use": 2}, r"lane_use is 2; it must be from 0 to 1"),
        ({"layers__0__bound_by": "luck"}, "bound_by is 'luck'"),
        ({"network__name": "a b"}, "network: name is 'a b', not a name"),
        ({"sha256__map.0": "0" * 64}, "map.0 does not have its checksum"),
        ({"extra": 1}, "unknown keys: 'extra'"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(BundleError, match=message) as error:
        Bundle.from_bytes(changed("map", **values))
    one_line(error)


def test_logits_must_fit_the_results():
    with pytest.raises(BundleError, match="results is 4; it must be an integer from 1 to 3"):
        Bundle.from_bytes(changed("logits", config__result_depth=3))


def test_the_compiler_cannot_make_a_wrong_bundle():
    with pytest.raises(BundleError, match="predicted_cycles is -1"):
        make(predicted_cycles=-1)
    with pytest.raises(BundleError, match="9 tensors are too few for 3 parts of 2 clusters"):
        make(parts=[{"layers": 1}, {"layers": 1}, {"layers": 1}], layers=[LAYER] * 3)
    with pytest.raises(BundleError, match=r"length of code\.1\.1 is 1; it must be .* 2 to 64"):
        make(parts=[{"layers": 1}, {"layers": 2}], layers=[LAYER] * 3)


def header(content: Any, body: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file has 0 bytes"),
        (struct.pack("<Q", 1 << 60) + b"{}", "header claims 1152921504606846976 bytes"),
        (header([]), r"its header is \[\], not an object"),
        (header({}), "no metadata"),
        (struct.pack("<Q", 200_000) + b"[" * 200_000, "nested deeper than 8"),
        (struct.pack("<Q", 17) + b'{"a": 1, "a": 2 }', "holds a key twice"),
        (struct.pack("<Q", 10) + b'{"a": NaN}', "holds NaN"),
        (struct.pack("<Q", 4) + b"\xff\xff\xff\xff", "no text"),
        (
            header(
                {
                    "__metadata__": {},
                    "t": {"dtype": "I32", "shape": [1 << 40], "data_offsets": [0, 4]},
                },
                b"abcd",
            ),
            "its length is 1099511627776",
        ),
        (
            header(
                {
                    "__metadata__": {},
                    "t": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]},
                }
            ),
            "dtype 'F64'; it must be one of U32, I32",
        ),
    ],
)
def test_hostile_containers(data, message):
    with pytest.raises(BundleError, match=message) as error:
        Bundle.from_bytes(data)
    one_line(error)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(BundleError, match="No such file or directory; give the path"):
        Bundle.load(tmp_path / "none.plum")
    with pytest.raises(BundleError, match=r"Is a directory|no regular file"):
        Bundle.load(tmp_path)
    large = tmp_path / "large.plum"
    with large.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(BundleError, match=f"it has {MAX_FILE_BYTES + 1} bytes") as error:
        Bundle.load(large)
    assert "large.plum" in one_line(error)
    cut = tmp_path / "cut.plum"
    cut.write_bytes(DATA["map"][:-1])
    with pytest.raises(BundleError, match=r"bundle '.*cut.plum': .*the file is damaged"):
        Bundle.load(cut)
    with pytest.raises(BundleError, match="cannot write"):
        make().save(tmp_path / "no" / "folder.plum")


def test_manifests_are_canonical():
    assert canonical_json({"b": [1, None], "a": {"d": True, "c": 0.5}}) == (
        '{"a":{"c":0.5,"d":true},"b":[1,null]}'
    )
