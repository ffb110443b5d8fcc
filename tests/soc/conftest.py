"""Firmware and work, made once."""

from __future__ import annotations

import pytest

from plum_hw.soc.firmware import App, Firmware, build_firmware
from tests.soc.work import Work, make_work


@pytest.fixture(scope="session")
def several() -> Work:
    """Logits, from several parts."""
    return make_work(100, parts=True, logits=True)


@pytest.fixture(scope="session")
def alone() -> Work:
    """Logits, from a single part."""
    return make_work(200, parts=False, max_layers=2, logits=True)


@pytest.fixture(scope="session")
def mapped() -> Work:
    """A map of activations, from several parts."""
    return make_work(300, parts=True, logits=False)


@pytest.fixture(scope="session")
def firmware() -> Firmware:
    return build_firmware()


@pytest.fixture(scope="session")
def monitor_firmware() -> Firmware:
    return build_firmware(App.MONITOR)
