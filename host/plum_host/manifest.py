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
VERSION = 3

KEYS = (
    "config",
    "digest",
    "format",
    "host_bytes",
    "input",
    "labels",
    "layers",
    "maps",
    "network",
    "output",
    "parts",
    "predicted_cycles",
    "sha256",
    "steps",
    "tensors",
    "version",
)
#: Memories of a cluster: tensor ``NAME.P.C`` is what part P has in that of cluster C.
MEMORIES = ("code", "table")

#: Knobs that a host relies on, with the widest ranges that any array may have.
_KNOBS = {
    "clusters": (1, 64),
    "lanes": (8, 1024),
    "group_lanes": (8, 8),
    "act_bits": (1, 8),
    "act_depth": (1, 1 << 16),
    "code_depth": (1, 1 << 16),
    "table_depth": (1, 1 << 16),
    "mask_bits": (8, 32),
    "result_depth": (1, 1 << 16),
    "layer_counters": (0, 1 << 12),
    "packet_bytes": (32, 1 << 16),
    "queue_bytes": (64, 1 << 20),
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
    "split",
    "layout",
)
_BOUNDS = ("lanes", "weights", "drain", "write-back", "latency")
_MAX_COUNT = 1 << 53
_MAX_SIDE = 1 << 16
_MAX_LAYERS = 4096
_MAX_PARTS = 4096
_MAX_HOST_BYTES = 1 << 26
_MAX_MARGIN = 64
_MAX_MAPS = 4096
_MAX_STEPS = 1 << 16
#: Maps that are written, or read, in one step.
_MAX_MOVES = 16
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
    check_keys(manifest, KEYS + (("batch",) if "batch" in manifest else ()), "manifest")
    config = _check_config(manifest["config"])
    if manifest["digest"] != config_digest(config):
        fail(f"digest is {show(manifest['digest'])} and not that of its array configuration")
    network = check_keys(manifest["network"], ("name", "digest"), "network")
    _check_name(network["name"], "network: name")
    _check_hex(network["digest"], 64, "network: digest")
    check_int(manifest["predicted_cycles"], 0, _MAX_COUNT, "predicted_cycles")
    _check_layers(manifest["layers"], config["clusters"])
    _check_parts(manifest["parts"], len(manifest["layers"]))
    _check_names(manifest, tensors)
    size = check_int(manifest["host_bytes"], 1, _MAX_HOST_BYTES, "host_bytes")
    _check_tensor(manifest["input"], "input", size, ("bits",))
    _check_output(manifest["output"], size)
    _check_batch(manifest)
    _check_tensors(manifest["tensors"], size)
    ends = _check_maps(manifest["maps"], tensors, config)
    _check_steps(manifest["steps"], len(manifest["parts"]), ends, size, config["result_depth"])
    _check_labels(manifest["labels"], manifest["output"]["shape"][0])
    _check_memories(manifest, tensors)
    sums = check_keys(manifest["sha256"], tuple(tensors), "sha256")
    for name, tensor in tensors.items():
        if sums[name] != tensor_sum(tensor):
            fail(f"tensor {name} does not have its checksum")


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


def _check_layers(layers: Any, clusters: int) -> None:
    if not isinstance(layers, list) or not 1 <= len(layers) <= _MAX_LAYERS:
        fail(f"layers is {show(layers)}; it must be a list of 1 to {_MAX_LAYERS}")
    for index, layer in enumerate(layers):
        what = f"layers[{index}]"
        check_keys(layer, _LAYER_KEYS, what)
        _check_name(layer["name"], f"{what}: name")
        _check_name(layer["op"], f"{what}: op")
        for key in ("cycles", "beats", "drain_stalls", "emit_stalls", "macs"):
            check_int(layer[key], 0, _MAX_COUNT, f"{what}: {key}")
        check_int(layer["group"], 1, 2, f"{what}: group")
        split = layer["split"]
        if not isinstance(split, list) or len(split) != 2:
            fail(f"{what}: split is {show(split)}; it must be two integers, of rows and filters")
        rows = check_int(split[0], 1, clusters, f"{what}: row parts")
        check_int(split[1], 1, clusters // rows, f"{what}: filter parts")
        for key in ("density", "lane_use"):
            share = layer[key]
            if key == "density" and share is None:
                continue
            if not isinstance(share, int | float) or not 0 <= share <= 1:
                fail(f"{what}: {key} is {show(share)}; it must be from 0 to 1")
        if layer["bound_by"] not in _BOUNDS:
            fail(f"{what}: bound_by is {show(layer['bound_by'])}; it is one of {_BOUNDS}")
        layouts = layer["layout"]
        if layouts is not None and (not isinstance(layouts, list) or not 1 <= len(layouts) <= 64):
            fail(f"{what}: layout is {show(layouts)}; it must be a list of 1 to 64 objects")
        for layout in layouts or ():
            if not isinstance(layout, dict):
                fail(f"{what}: layout is {show(layout)}, not an object")
            for key, value in layout.items():
                check_int(
                    int(value) if isinstance(value, bool) else value, 0, 1 << 20, f"{what}: {key}"
                )


def _check_parts(parts: Any, layers: int) -> None:
    if not isinstance(parts, list) or not 1 <= len(parts) <= min(layers, _MAX_PARTS):
        fail(f"parts is {show(parts)}; it must be a list of 1 to {min(layers, _MAX_PARTS)}")
    total = 0
    for index, part in enumerate(parts):
        check_keys(part, ("layers",), f"parts[{index}]")
        total += check_int(part["layers"], 1, layers, f"parts[{index}]: layers")
    if total != layers:
        fail(f"parts have {total} layers; they must have {layers}")


def _check_names(manifest: dict[str, Any], tensors: Tensors) -> None:
    """Exactly the tensors that belong there."""
    parts, clusters = len(manifest["parts"]), manifest["config"]["clusters"]
    if not isinstance(manifest["maps"], list) or not 1 <= len(manifest["maps"]) <= _MAX_MAPS:
        fail(f"maps is {show(manifest['maps'])}; it must be a list of 1 to {_MAX_MAPS}")
    if len(MEMORIES) * parts * clusters > len(tensors):
        fail(f"{len(tensors)} tensors are too few for {parts} parts of {clusters} clusters")
    names = {
        f"{name}.{part}.{cluster}"
        for name in MEMORIES
        for part in range(parts)
        for cluster in range(clusters)
    }
    names |= {f"map.{number}" for number in range(len(manifest["maps"]))}
    if set(tensors) != names:
        wrong = sorted(set(tensors) ^ names)
        fail(f"tensors are missing or unknown: {show(', '.join(wrong))}")


def _check_memories(manifest: dict[str, Any], tensors: Tensors) -> None:
    config = manifest["config"]
    for number, part in enumerate(manifest["parts"]):
        for cluster in range(config["clusters"]):
            for memory in MEMORIES:
                name = f"{memory}.{number}.{cluster}"
                # A program begins with its layers, each of a word or more.
                least = part["layers"] if memory == "code" else 0
                length = len(_tensor(tensors, name, "<u4", axes=1))
                check_int(length, least, config[f"{memory}_depth"], f"length of {name}")


def _check_tensor(entry: Any, what: str, size: int, keys: tuple[str, ...], each: int = 1) -> int:
    """Elements of a tensor of ``each`` bytes a value that lies in ``size`` bytes of host memory."""
    check_keys(entry, ("shape", "at", "margins", *keys), what)
    elements = _check_shape(entry["shape"], f"{what}: shape")
    if "bits" in keys:
        check_int(entry["bits"], 1, 8, f"{what}: bits")
    margins = entry["margins"]
    if not isinstance(margins, list) or len(margins) != 4:
        fail(f"{what}: margins is {show(margins)}; it must be four integers")
    for margin in margins:
        check_int(margin, 0, _MAX_MARGIN, f"{what}: margins")
    channels, height, width = entry["shape"]
    padded = channels * (margins[0] + height + margins[1]) * (margins[2] + width + margins[3])
    check_int(padded * each, 1, size, f"{what}: bytes in host memory")
    check_int(entry["at"], 0, size - padded * each, f"{what}: at")
    return elements


def _check_tensors(tensors: Any, size: int) -> None:
    if not isinstance(tensors, list) or len(tensors) > _MAX_LAYERS:
        fail(f"tensors is {show(tensors)}; it must be a list of up to {_MAX_LAYERS}")
    for index, entry in enumerate(tensors):
        _check_tensor(entry, f"tensors[{index}]", size, ("name",))
        _check_name(entry["name"], f"tensors[{index}]: name")


def _check_output(entry: Any, size: int) -> None:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if kind == "logits":
        classes = _check_tensor(entry, "output", size, ("kind",), 4)
        if entry["shape"] != [classes, 1, 1] or any(entry["margins"]):
            fail(f"output: logits of shape {entry['shape']} with margins {entry['margins']}")
        return
    if kind != "map":
        fail(f"output: kind is {show(kind)}; it must be 'logits' or 'map'")
    _check_tensor(entry, "output", size, ("kind", "bits"))


def _check_batch(manifest: dict[str, Any]) -> None:
    """A batch fills the pixels of the input, and of the output."""
    if "batch" not in manifest:
        return
    shapes = [manifest[key]["shape"] for key in ("input", "output")]
    pixels = [height * width for _, height, width in shapes]
    batch = check_int(manifest["batch"], 2, pixels[0], "batch")
    if manifest["output"]["kind"] != "map" or pixels != [batch, batch]:
        fail(f"batch is {batch} with an input of shape {shapes[0]} and an output of {shapes[1]}")


def _check_maps(maps: list[Any], tensors: Tensors, config: dict[str, Any]) -> list[int]:
    """The highest place of each map."""
    words = config["act_depth"] * config["lanes"] // config["group_lanes"]
    highest = []
    for number, entry in enumerate(maps):
        what, name = f"maps[{number}]", f"map.{number}"
        check_keys(entry, ("address", "words"), what)
        check_int(entry["words"], 1, words, f"{what}: words")
        check_int(entry["address"], 0, words - entry["words"], f"{what}: address")
        values = _tensor(tensors, name, "<i4", axes=2)
        wanted = (config["clusters"], 8 * entry["words"])
        if values.shape != wanted:
            fail(f"{name} has shape {values.shape} and must have {wanted}")
        _check_range(values, name, -1, _MAX_HOST_BYTES - 1)
        highest.append(int(values.max()))
    return highest


def _check_steps(steps: Any, parts: int, highest: list[int], size: int, results: int) -> None:
    if not isinstance(steps, list) or not 1 <= len(steps) <= _MAX_STEPS:
        fail(f"steps is {show(steps)}; it must be a list of 1 to {_MAX_STEPS}")
    for index, step in enumerate(steps):
        what = f"steps[{index}]"
        check_keys(step, ("part", "writes", "reads", "results"), what)
        check_int(step["part"], 0, parts - 1, f"{what}: part")
        for key in ("writes", "reads", "results"):
            moves = step[key]
            if not isinstance(moves, list) or len(moves) > _MAX_MOVES:
                fail(f"{what}: {key} is {show(moves)}; it must be a list of up to {_MAX_MOVES}")
            for move in moves:
                if not isinstance(move, list) or len(move) != 2:
                    fail(f"{what}: {key} holds {show(move)}; it must be pairs of integers")
                if key == "results":
                    end = 4 * check_int(move[0], 1, results, f"{what}: results")
                else:
                    end = 1 + highest[check_int(move[0], 0, len(highest) - 1, f"{what}: {key}")]
                check_int(move[1], 0, size - end, f"{what}: place of {key}")
    unused = set(range(parts)) - {step["part"] for step in steps}
    if unused:
        fail(f"no step runs part {min(unused)}")


def _check_labels(labels: Any, classes: int) -> None:
    if labels is None:
        return
    if not isinstance(labels, list) or len(labels) != classes:
        fail(f"labels is {show(labels)}; it must be {classes} strings")
    for label in labels:
        if not isinstance(label, str) or not label.isprintable() or not 1 <= len(label) <= 128:
            fail(f"label {show(label)} must be 1 to 128 printable characters")


def _tensor(tensors: Tensors, name: str, dtype: str, *, axes: int) -> Any:
    tensor = tensors[name]
    if tensor.dtype != dtype:
        fail(f"tensor {name} has dtype {tensor.dtype} and not {dtype}")
    if tensor.ndim != axes:
        fail(f"tensor {name} has shape {tensor.shape}; its axes must be {axes}")
    return tensor


def _check_range(values: Any, name: str, low: int, high: int) -> None:
    if int(values.min()) < low or int(values.max()) > high:
        fail(f"{name} holds {values.min()} to {values.max()}; it may hold {low} to {high}")


def tensor_sum(tensor: Any) -> str:
    """SHA-256 of a tensor's bytes, hexadecimal."""
    return hashlib.sha256(tensor.tobytes()).hexdigest()
