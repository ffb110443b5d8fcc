"""Boards on Ethernet: what is built, and a session by frames at the pins of the MII."""

from __future__ import annotations

import dataclasses
import gc
import re
import warnings

import numpy as np
import pytest
from amaranth.hdl import UnusedElaboratable
from typer.testing import CliRunner

from plum_host.protocol import SPACE_BYTES, Space
from plum_host.session import Session
from plum_hw.boards import board
from plum_hw.boards.board import Board
from plum_hw.boards.project import make_project
from plum_hw.boards.top import BoardTop
from plum_hw.cli import app
from plum_hw.compiler import check_network, compile_network
from plum_hw.errors import ConfigError
from plum_hw.gateware.link.liteeth_core import ethernet_verilog
from plum_hw.inference import run_images
from plum_hw.ir.random import random_images, random_network
from plum_hw.network import NetworkConfig
from plum_hw.presets import preset
from plum_hw.virtual import VirtualBoard

TINY = preset("tiny")
ARTY = dataclasses.replace(board("arty"), ethernet=NetworkConfig())


def test_session_by_frames_at_the_mii() -> None:
    """The host's own UDP, in real frames: results, and nothing that a network would refuse."""
    for number in range(20, 70):
        network = random_network(number)
        if not check_network(network, TINY) and np.prod(network.input.shape) < 600:
            break
    bundle = compile_network(network, TINY)
    with VirtualBoard(TINY, pins=ARTY) as virtual:
        result = run_images(bundle, random_images(network, 3, 20), None, device=virtual.udp_url)
    assert result.equal_to_golden
    assert result.cycles_as_predicted
    assert virtual.mii is not None
    assert virtual.mii.bad == 0
    assert virtual.mii.from_frames > 3


def test_payload_share_of_the_line() -> None:
    """Weights in full datagrams, back to back: 85 % of 100 Mbit/s, and the device keeps up."""
    rng = np.random.default_rng(20240511)
    data = rng.bytes(SPACE_BYTES[Space.CODE] * TINY.code_depth)
    repeats = 40
    with VirtualBoard(TINY, pins=ARTY) as virtual, Session.open(virtual.udp_url) as session:
        session.write_memories([(Space.CODE, 0, 0, data)] * repeats)
        repeated = session.link.repeated
        assert session.read_memory(Space.CODE, 0, TINY.code_depth) == data
    assert virtual.mii is not None
    assert virtual.mii.bad == 0
    assert repeated == 0
    # What opens the session and reads the memory counts as well.
    assert repeats * len(data) / (virtual.mii.to_nibbles / 2) >= 0.85


def test_project_has_pins_clocks_and_core() -> None:
    files = make_project(ARTY, TINY, "plum")
    assert "module plum_ethernet" in files["plum_ethernet.v"]
    xdc = files["plum.xdc"]
    for pin in ("F15", "H16", "G18", "C16"):  # RX_CLK, TX_CLK, reference, reset
        assert re.search(rf"LOC {pin} ", xdc)
    for clock in ("rx", "tx"):
        ports = f"[get_ports {{eth_mii_0__{clock}_clk__io}}]"
        assert f"create_clock -name eth_{clock}_clk -period 40.000 {ports}" in xdc
        assert f"set_clock_groups -asynchronous -group [get_clocks eth_{clock}_clk]" in xdc
    for line in ("set_input_delay -clock eth_rx_clk -max 30", "set_output_delay -clock eth_tx_clk"):
        assert line in xdc


def test_without_it_nothing_of_it_is_there() -> None:
    files = make_project(board("arty"), TINY, "plum")
    assert "plum_ethernet.v" not in files
    assert not any("eth" in text for name, text in files.items() if name.endswith((".xdc", ".v")))


def test_core_is_the_same_text_again() -> None:
    text = ethernet_verilog(NetworkConfig(), 100_000_000)
    assert text == ethernet_verilog(NetworkConfig(), 100_000_000)
    assert text != ethernet_verilog(NetworkConfig(ip="10.1.2.3"), 100_000_000)
    assert "Date" not in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ip": "192.168.1"}, "'192.168.1' is none"),
        ({"ip": "224.0.0.1"}, "224.0.0.1 is not that of one board"),
        ({"ip": "10.0.0.255"}, "10.0.0.255 is not that of one board"),
        ({"mac": "02:00"}, "'02:00' is none"),
        ({"mac": "03:00:00:00:00:01"}, "03:00:00:00:00:01 is not that of one port"),
        ({"port": 0}, "UDP port is 0"),
    ],
)
def test_wrong_addresses(changes: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        NetworkConfig(**changes)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (
            dataclasses.replace(board("ulx3s-25f"), ethernet=NetworkConfig()),
            "no Ethernet port is known of ulx3s-25f",
        ),
        (dataclasses.replace(ARTY, clock_hz=80_000_000), "clock is 80 MHz; with Ethernet"),
    ],
)
def test_boards_that_cannot(item: Board, said: str) -> None:
    with warnings.catch_warnings():
        # A top that is refused half way is never elaborated, and Amaranth says so when it goes.
        warnings.simplefilter("ignore", UnusedElaboratable)
        with pytest.raises(ConfigError, match=said):
            BoardTop(item, TINY)
        gc.collect()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ip", "10.0.0.2"], "give that too"),
        (["--link", "ethernet", "--soc"], "build without --link ethernet"),
        (["--link", "ethernet", "--ip", "here"], "'here' is none"),
    ],
)
def test_what_build_refuses(words: list[str], said: str, tmp_path) -> None:
    result = CliRunner().invoke(app, ["build", "--board", "arty", "--out", str(tmp_path), *words])
    assert isinstance(result.exception, ConfigError)
    assert said in str(result.exception)
