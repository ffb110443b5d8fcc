"""Whole tops of boards, bit by bit at their pins, in Verilator: bits in, results out.

The serial port outside is not the gateware's but that of `plum_hw.boards.simulation`; buffers, PLL
and start-up are models. Every output is compared with the golden machine.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from plum_host.errors import PlumHostError
from plum_host.rates import rate_for
from plum_host.session import Session
from plum_hw.boards import board, simulation
from plum_hw.boards.board import Board
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.demo import shipped
from plum_hw.inference import load_labelled, run_images
from plum_hw.ir import load_network
from plum_hw.ir.random import random_images, random_network
from plum_hw.presets import preset
from plum_hw.virtual import VirtualBoard
from tests.arrays import SMALL


def fast_line(name: str) -> Board:
    """A board whose serial line is as fast as the gateware's port allows: less to simulate."""
    item = board(name)
    return dataclasses.replace(item, baud=item.clock_hz // 8)


def small_network(config: ArrayConfig, seed: int, layers: int = 7, macs: int = 2_000_000):
    """A random network that the array can run, whatever else it is."""
    for number in range(seed, seed + 50):
        network = random_network(number, max_layers=layers, max_macs=macs)
        if not check_network(network, config) and np.prod(network.input.shape) < 600:
            return network
    pytest.fail(f"no network from seed {seed} on fits {config.name}")


@pytest.mark.parametrize(
    ("name", "array"), [("ulx3s-85f", "tiny"), ("arty", "tiny"), ("tang-nano-9k", "tang-nano-9k")]
)
def test_results_at_the_pins(name: str, array: str) -> None:
    config = preset(array)
    network = small_network(config, seed=20)
    bundle = compile_network(network, config)
    images = random_images(network, 3, 20)
    with VirtualBoard(config, pins=fast_line(name)) as virtual:
        result = run_images(bundle, images, None, device=virtual.url)
    assert result.equal_to_golden
    assert result.cycles_as_predicted


@pytest.mark.parametrize("name", ["arty-a7-100", "icepi-zero", "tang-primer-20k"])
def test_identity_and_an_image_at_the_pins(name: str) -> None:
    """Clock tree, reset, buffers and pins are the board's own; the array is a small one."""
    item = fast_line(name)
    network = small_network(SMALL, seed=40, layers=3, macs=10_000)
    bundle = compile_network(network, SMALL)
    with VirtualBoard(SMALL, pins=item) as virtual:
        with Session.open(virtual.url, timeout=5) as session:
            known = session.identify()
            assert (known.name, known.clock_hz) == (SMALL.name, item.clock_hz)
        result = run_images(bundle, random_images(network, 1, 40), None, device=virtual.url)
    assert result.equal_to_golden
    assert result.cycles_as_predicted


def test_a_board_at_another_rate_is_taken_back() -> None:
    """The host sets twice the rate and does not follow: its next packet is not understood, but the
    0x00 that ends it is a break at the higher rate, and the one after that is answered.
    """
    item = dataclasses.replace(board("arty"), baud=board("arty").clock_hz // 16)
    with (
        VirtualBoard(preset("tiny"), pins=item) as virtual,
        Session.open(virtual.url, timeout=3) as session,
    ):
        rate = rate_for(item.clock_hz, 2 * item.baud)
        assert rate is not None
        probes = session.link.probes
        session.client.set_rate(rate, lambda: None)
        assert session.link.probes >= probes + 2
        # One below the first rate is not taken: it could not be left again.
        session.client.set_rate(rate // 4, lambda: None)
        assert session.identify().name == "tiny"


@pytest.mark.parametrize(("name", "count"), [("tang-nano-9k", 8), ("icebreaker", 2)])
def test_small_board_classifies_real_images(name: str, count: int) -> None:
    item = fast_line(name)
    config = preset(item.array)
    bundle = compile_network(load_network(shipped(f"{item.network}.qnet")), config)
    images, labels = load_labelled(shipped("fashion-test-500.npz"), None, count)
    with VirtualBoard(config, pins=item) as virtual:
        result = run_images(bundle, images, labels, device=virtual.url)
    assert result.equal_to_golden
    assert result.cycles_as_predicted
    assert result.top1 is not None
    assert result.top1 >= 75


def test_wrong_bit_rate_is_no_board(monkeypatch) -> None:
    """The bench can fail: a host at another rate than the board's is not understood."""
    wrong = simulation._WRAPPER.replace("{divisor}", "({divisor} + 3)")
    monkeypatch.setattr(simulation, "_WRAPPER", wrong)
    item = dataclasses.replace(fast_line("ulx3s-85f"), title="at another rate")
    with (
        VirtualBoard(preset("tiny"), pins=item) as virtual,
        pytest.raises(PlumHostError),
        Session.open(virtual.url, timeout=1),
    ):
        pass
