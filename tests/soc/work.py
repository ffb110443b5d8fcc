"""Firmware, and small networks on an array with several clusters whose programs come in parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from plum_host.bundle import Bundle
from plum_host.session import Session
from plum_hw.compiler import check_network, compile_network
from plum_hw.ir.random import random_images, random_network
from plum_hw.soc.firmware import Firmware
from plum_hw.soc.flash_image import images_section, network_section, slot, whole_flash
from plum_hw.soc.simulator import SIMULATED, SimulatedSoc
from tests.arrays import SHORT

#: No test simulates more cycles at once.
CYCLES = 60_000_000


@dataclass(frozen=True)
class Work:
    """A compiled network, images, and what the golden machine makes of them."""

    bundle: Bundle
    images: np.ndarray[Any, Any]
    outputs: np.ndarray[Any, Any]
    cycles: np.ndarray[Any, Any]

    def slot(self, *, sequence: int = 1, expected: bool = True) -> bytes:
        labels = self.outputs.reshape(len(self.outputs), -1).argmax(axis=1)
        return slot(
            [
                network_section(self.bundle),
                images_section("images", self.images, labels, self.outputs if expected else None),
            ],
            sequence=sequence,
        )


def make_work(seed: int, *, parts: bool, config: Any = SHORT, **options: Any) -> Work:
    """The first network from that seed on that array and controller take; ``parts``: and take in
    several.
    """
    while True:
        network = random_network(seed, max_macs=40_000, **options)
        if not check_network(network, config):
            bundle = compile_network(network, config)
            # No tensor has to wait outside of the array.
            if (len(bundle.parts) > 1) == parts and not any(s.reads for s in bundle.steps[:-1]):
                break
        seed += 1
    images = random_images(network, 3, seed)
    with Session.open("golden", bundle.manifest["config"]) as session:
        session.load(bundle)
        result = session.run(images)
    return Work(bundle, images, result.outputs, result.cycles)


@contextmanager
def board(firmware: Firmware, *slots: bytes | None, config: Any = SHORT) -> Iterator[SimulatedSoc]:
    """A simulated board with these slots in its flash, just reset."""
    flash = whole_flash(slots, SIMULATED)
    with SimulatedSoc(config, firmware.image, flash, cycles=CYCLES) as soc:
        yield soc
