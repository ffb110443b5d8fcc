"""Networks for the host's tests, compiled for small arrays."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from plum_host.bundle import Bundle
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.golden.machine import Machine
from plum_hw.ir.random import random_images, random_network
from plum_hw.presets import preset

TINY = preset("tiny")
THREE = preset("tiny-3")
#: Programs of most networks do not fit here at once.
SHORT = dataclasses.replace(THREE, name="short", code_depth=256)


@dataclass(frozen=True)
class Work:
    """A compiled network, images, and what the golden machine makes of them."""

    bundle: Bundle
    images: np.ndarray[Any, Any]
    outputs: np.ndarray[Any, Any]


def make_work(
    seed: int, config: ArrayConfig = TINY, *, parts: bool = False, count: int = 3, **options: Any
) -> Work:
    """The first network from that seed on that an array takes; ``parts``: and takes in several."""
    while True:
        network = random_network(seed, **options)
        if not check_network(network, config):
            bundle = compile_network(network, config)
            if not parts or len(bundle.parts) > 1:
                break
        seed += 1
    images = random_images(network, count, seed)
    machine = Machine(config)
    machine.load(bundle)
    return Work(bundle, images, machine.outputs(bundle, images))


@functools.cache
def logits_work() -> Work:
    """A small network that ends in logits."""
    return make_work(1, max_layers=3, max_macs=40_000, logits=True)


@functools.cache
def map_work() -> Work:
    """A small network that ends in a map."""
    return make_work(2, max_layers=3, max_macs=40_000, logits=False)


@functools.cache
def clusters_work() -> Work:
    """A network that ends in a map, on several clusters."""
    return make_work(3, THREE, max_layers=3, max_macs=40_000, logits=False)


@functools.cache
def parts_work() -> Work:
    """A network that runs in several parts on several clusters."""
    return make_work(4, SHORT, parts=True, max_layers=5, max_macs=100_000, logits=True)
