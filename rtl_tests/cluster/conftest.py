"""Whole devices without their link, compiled once for all tests that run on them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from plum_hw.config import ArrayConfig
from plum_hw.gateware.device import Device
from rtl_tests.bench import Simulation


@pytest.fixture(scope="session")
def device(tmp_path_factory) -> Callable[[ArrayConfig], Simulation]:
    """The simulation of the device of an array."""
    built: dict[str, Simulation] = {}

    def simulation(config: ArrayConfig) -> Simulation:
        if config.digest not in built:
            folder = tmp_path_factory.mktemp(config.name)
            built[config.digest] = Simulation(Device(config), folder)
        return built[config.digest]

    return simulation
