"""Whole clusters, compiled once for all tests that run on them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.cluster import Cluster
from rtl_tests.bench import Simulation


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Callable[[ArrayConfig], Simulation]:
    """The simulation of a cluster of an array."""
    built: dict[str, Simulation] = {}

    def simulation(config: ArrayConfig) -> Simulation:
        if config.digest not in built:
            folder = tmp_path_factory.mktemp(config.name)
            built[config.digest] = Simulation(Cluster(config), folder)
        return built[config.digest]

    return simulation
