"""Where a machine and the reference part ways: the first layer, channel, row and column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_host.bundle import Bundle
from plum_hw.config import ArrayConfig
from plum_hw.golden.machine import Machine
from plum_hw.golden.reference import Reference
from plum_hw.ir import Network


@dataclass(frozen=True)
class Divergence:
    """The first element that differs.

    *Members*: ``layer``; ``channel``, ``row``, ``column`` of its output (0 and 0 for logits);
    ``expected`` by the reference; ``got`` instead; ``count`` of wrong elements of this layer.
    """

    layer: str
    channel: int
    row: int
    column: int
    expected: int
    got: int
    count: int

    def __str__(self) -> str:
        return (
            f"layer {self.layer}: channel {self.channel}, row {self.row}, column {self.column} is "
            f"{self.got}, expected {self.expected} ({self.count} wrong in this layer)"
        )


def compare(layer: str, expected: NDArray[Any], got: NDArray[Any]) -> Divergence | None:
    """Compare outputs of one layer, logits [K] or maps (C, H, W); None if they are equal."""
    wrong = np.argwhere(expected.astype(np.int64) != got.astype(np.int64))
    if not len(wrong):
        return None
    place = tuple(int(i) for i in wrong[0])
    channel, row, column = (*place, 0, 0)[:3]
    return Divergence(
        layer, channel, row, column, int(expected[place]), int(got[place]), len(wrong)
    )


def first_divergence(
    network: Network,
    image: NDArray[np.uint8],
    outputs: Callable[[str, int], NDArray[Any]],
    names: list[str],
) -> Divergence | None:
    """Compare layer after layer with the reference.

    image : uint8 (C, H, W)
    outputs : gives the output of a layer, by its name and its number in the program
    names : layers of the program; those that the network does not have are passed over

    Returns None if all are equal.
    """
    expected = Reference(network).layers(image[None])
    for number, name in enumerate(names):
        if name in expected:
            found = compare(name, expected[name][0], outputs(name, number))
            if found is not None:
                return found
    return None


def machine_divergence(
    network: Network, bundle: Bundle, image: NDArray[np.uint8], machine: Machine | None = None
) -> Divergence | None:
    """Compare a bundle on the golden machine with the reference, layer by layer.

    machine : with the bundle loaded if it has a single part; a new one by default
    """
    if machine is None:
        machine = Machine(ArrayConfig.from_dict(bundle.manifest["config"]))
        machine.load(bundle)
    device = machine
    if bundle.held_places:
        # What the host holds between stages; names with a suffix are sums that no layer gives.
        expected = Reference(network).layers(image[None])
        for name, values in device.held(bundle, image).items():
            found = compare(name, expected[name][0], values) if name in expected else None
            if found is not None:
                return found
        name = network.output
        found = compare(name, expected[name][0], device.outputs(bundle, image[None])[0])
        if found is not None:
            return found
    steps = device.step_image(bundle, image)
    done = -1

    def outputs(name: str, number: int) -> NDArray[Any]:
        nonlocal done
        while done < number:
            done = next(steps)
        return device.tensor(bundle, name)

    names = [layer["name"] for layer in bundle.manifest["layers"]]
    return first_divergence(network, image, outputs, names)
