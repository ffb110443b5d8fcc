"""Networks for the host's tests, compiled for the small array."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from plum_host.bundle import Bundle
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import preset
from plum_hw.golden.machine import Machine
from plum_hw.ir.random import random_images, random_network

TINY = preset("tiny")


@dataclass(frozen=True)
class Work:
    """A compiled network, images, and what the golden machine makes of them."""

    bundle: Bundle
    images: np.ndarray[Any, Any]
    outputs: np.ndarray[Any, Any]


def make_work(seed: int, count: int = 3, **options: Any) -> Work:
    """The first network from that seed on that the small array takes."""
    while check_network(network := random_network(seed, **options), TINY):
        seed += 1
    bundle = compile_network(network, TINY)
    images = random_images(network, count, seed)
    machine = Machine(TINY)
    machine.load(bundle)
    outputs = []
    for image in images:
        machine.run_image(bundle, image)
        outputs.append(bundle.unpack_output(machine.read(*bundle.output_range)))
    return Work(bundle, images, np.stack(outputs))


@functools.cache
def logits_work() -> Work:
    """A small network that ends in logits."""
    return make_work(1, max_layers=3, max_macs=40_000, logits=True)


@functools.cache
def map_work() -> Work:
    """A small network that ends in a map."""
    return make_work(2, max_layers=3, max_macs=40_000, logits=False)
