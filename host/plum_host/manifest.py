"""The manifest of a bundle, checked value by value before anything relies on it.

Ref: docs/architecture.md, "Bundle".
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from plum_host.container import Tensors, check_int, check_keys, fail, show

FORMAT = "plum-bundle"
VERSION = 1

KEYS = (
    "config",
    "digest",
    "format",
    "input",
    "labels",
    "layers",
    "network",
    "output",
    "predicted_cycles",
    "program_address",
    "sha256",
    "version",
)
#: Memories of a cluster: tensor ``NAME.I`` is that of cluster I.
MEMORIES = ("program", "table", "weight")

#: Knobs that a host relies on, with the widest ranges that any array may have.
_KNOBS = {
    "clusters": (1, 64),
    "lanes": (8, 1024),
    "group_lanes": (8, 8),
    "act_bits": (1, 8),
    "act_depth": (1, 1 << 16),
    "program_depth": (1, 1 << 16),
    "table_depth": (1, 1 << 16),
    "weight_depth": (1, 1 << 20),
    "mask_bits": (8, 32),
    "result_depth": (1, 1 << 16),
    "layer_counters": (1, 1 << 12),
    "packet_bytes": (32, 1 << 16),
}
_LAYER_KEYS = (
    "name",
    "op",
    "cycles",
    "beats",
    "drain_stalls",
    "emit_stalls",
    "macs",
    "density",
    "group",
    "lane_use",
    "bound_by",
    "layout",
)
_BOUNDS = ("lanes", "drain", "emitter", "latency")
_MAX_COUNT = 1 << 53
_MAX_SIDE = 1 << 16
_MAX_LAYERS = 4096
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_HEX = re.compile(r"[0-9a-f]*")


def config_digest(config: dict[str, Any]) -> str:
    """The digest by which a device recognises its array (as `ArrayConfig.digest`)."""
    knobs = {key: value for key, value in config.items() if key != "name"}
    text = json.dumps(knobs, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def check_manifest(manifest: dict[str, Any], tensors: Tensors) -> None:
    """Raise `BundleError` unless manifest and tensors are of one bundle."""
    version = manifest.get("version")
    if manifest.get("format") != FORMAT or not isinstance(version, int):
        fail(f"its format is {show(manifest.get('format'))} and not {FORMAT!r}")
    if version != VERSION:
        fail(
            f"its format version is {show(version)} and this program reads {VERSION}",
            "compile the network again with this program's release",
        )
    check_keys(manifest, KEYS, "manifest")
    config = _check_config(manifest["config"])
    if manifest["digest"] != config_digest(config):
        fail(f"digest is {show(manifest['digest'])} and not that of its array configuration")
    network = check_keys(manifest["network"], ("name", "digest"), "network")
    _check_name(network["name"], "network: name")
    _check_hex(network["digest"], 64, "network: digest")
    check_int(manifest["predicted_cycles"], 0, _MAX_COUNT, "predicted_cycles")
    _check_layers(manifest["layers"])
    words = config["act_depth"] * config["lanes"] // config["group_lanes"]
    _check_input(manifest["input"], tensors, words)
    _check_output(manifest["output"], tensors, words, config["result_depth"])
    _check_labels(manifest["labels"], manifest["output"]["shape"][0])
    for name in MEMORIES:
        for cluster in range(config["clusters"]):
            words_used = len(_tensor(tensors, f"{name}.{cluster}", "<u4"))
            check_int(words_used, 0, config[f"{name}_depth"], f"length of {name}.{cluster}")
    check_int(manifest["program_address"], 0, len(tensors["program.0"]) - 1, "program_address")
    _check_sums(manifest, tensors, config["clusters"])


def _check_config(config: Any) -> dict[str, Any]:
    if not isinstance(config, dict) or not 1 <= len(config) <= 64:
        fail(f"config is {show(config)}, not an object of knobs")
    for name, (low, high) in _KNOBS.items():
        check_int(config.get(name), low, high, f"config: {name}")
    for name, value in config.items():
        if name == "name":
            _check_name(value, "config: name")
        else:
            check_int(value, 0, 1 << 20, f"config: {show(name)}")
    if config["lanes"] % config["group_lanes"]:
        fail(f"config: lanes is {config['lanes']}; it must be a multiple of 8")
    return config


def _check_name(value: Any, what: str) -> None:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        fail(f"{what} is {show(value)}, not a name")


def _check_hex(value: Any, digits: int, what: str) -> None:
    if not isinstance(value, str) or len(value) != digits or not _HEX.fullmatch(value):
        fail(f"{what} is {show(value)}, not {digits} hexadecimal digits")


def _check_shape(value: Any, what: str) -> int:
    """Elements of a (C, H, W) shape."""
    if not isinstance(value, list) or len(value) != 3:
        fail(f"{what} is {show(value)}; it must be three integers (C, H, W)")
    count = 1
    for side in value:
        count *= check_int(side, 1, _MAX_SIDE, what)
    return count


def _check_layers(layers: Any) -> None:
    if not isinstance(layers, list) or not 1 <= len(layers) <= _MAX_LAYERS:
        fail(f"layers is {show(layers)}; it must be a list of 1 to {_MAX_LAYERS}")
    for index, layer in enumerate(layers):
        what = f"layers[{index}]"
        check_keys(layer, _LAYER_KEYS, what)
        _check_name(layer["name"], f"{what}: name")
        _check_name(layer["op"], f"{what}: op")
        for key in ("cycles", "beats", "drain_stalls", "emit_stalls", "macs"):
            check_int(layer[key], 0, _MAX_COUNT, f"{what}: {key}")
        check_int(layer["group"], 1, 8, f"{what}: group")
        for key in ("density", "lane_use"):
            share = layer[key]
            if key == "density" and share is None:
                continue
            if not isinstance(share, int | float) or not 0 <= share <= 1:
                fail(f"{what}: {key} is {show(share)}; it must be from 0 to 1")
        if layer["bound_by"] not in _BOUNDS:
            fail(f"{what}: bound_by is {show(layer['bound_by'])}; it is one of {_BOUNDS}")
        layout = layer["layout"]
        if layout is not None and not isinstance(layout, dict):
            fail(f"{what}: layout is {show(layout)}, not an object")
        for key, value in (layout or {}).items():
            check_int(
                int(value) if isinstance(value, bool) else value, 0, 1 << 20, f"{what}: {key}"
            )


def _check_input(entry: Any, tensors: Tensors, words: int) -> None:
    check_keys(entry, ("shape", "bits", "address", "words"), "input")
    pixels = _check_shape(entry["shape"], "input: shape")
    check_int(entry["bits"], 1, 8, "input: bits")
    check_int(entry["words"], 1, words, "input: words")
    check_int(entry["address"], 0, words - entry["words"], "input: address")
    _check_map(tensors, "input_map", 8 * entry["words"], -1, pixels - 1)


def _check_output(entry: Any, tensors: Tensors, words: int, results: int) -> None:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if kind == "logits":
        check_keys(entry, ("kind", "shape"), "output")
        check_int(_check_shape(entry["shape"], "output: shape"), 1, results, "output: results")
        return
    if kind != "map":
        fail(f"output: kind is {show(kind)}; it must be 'logits' or 'map'")
    check_keys(entry, ("kind", "shape", "bits", "address", "words"), "output")
    pixels = _check_shape(entry["shape"], "output: shape")
    check_int(entry["bits"], 1, 8, "output: bits")
    check_int(entry["words"], 1, words, "output: words")
    check_int(entry["address"], 0, words - entry["words"], "output: address")
    _check_map(tensors, "output_map", pixels, 0, 8 * entry["words"] - 1)


def _check_labels(labels: Any, classes: int) -> None:
    if labels is None:
        return
    if not isinstance(labels, list) or len(labels) != classes:
        fail(f"labels is {show(labels)}; it must be {classes} strings")
    for label in labels:
        if not isinstance(label, str) or not label.isprintable() or not 1 <= len(label) <= 128:
            fail(f"label {show(label)} must be 1 to 128 printable characters")


def _tensor(tensors: Tensors, name: str, dtype: str) -> Any:
    if name not in tensors:
        fail(f"tensor {name} is missing")
    if tensors[name].dtype != dtype:
        fail(f"tensor {name} has dtype {tensors[name].dtype} and not {dtype}")
    return tensors[name]


def _check_map(tensors: Tensors, name: str, length: int, low: int, high: int) -> None:
    values = _tensor(tensors, name, "<i4")
    if len(values) != length:
        fail(f"{name} has {len(values)} entries and must have {length}")
    if int(values.min()) < low or int(values.max()) > high:
        fail(f"{name} holds {values.min()} to {values.max()}; it may hold {low} to {high}")


def _check_sums(manifest: dict[str, Any], tensors: Tensors, clusters: int) -> None:
    """Exactly the tensors that belong there, each with its checksum."""
    names = {f"{name}.{cluster}" for name in MEMORIES for cluster in range(clusters)}
    names.add("input_map")
    if manifest["output"]["kind"] == "map":
        names.add("output_map")
    if set(tensors) != names:
        wrong = sorted(set(tensors) ^ names)
        fail(f"tensors are missing or unknown: {show(', '.join(wrong))}")
    sums = check_keys(manifest["sha256"], tuple(names), "sha256")
    for name, tensor in tensors.items():
        if sums[name] != tensor_sum(tensor):
            fail(f"tensor {name} does not have its checksum")


def tensor_sum(tensor: Any) -> str:
    """SHA-256 of a tensor's bytes, hexadecimal."""
    return hashlib.sha256(tensor.tobytes()).hexdigest()
