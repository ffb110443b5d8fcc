"""Ways to a device: what is opened, what is said where that fails, and the serial port's code."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import tty
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest

from plum_host.errors import DeviceTimeoutError, TransportError
from plum_host.faults import Faults, FaultyTransport, Spoiler
from plum_host.session import Session
from plum_host.transports import SerialTransport, find, open_transport
from plum_hw.golden.device import GoldenDevice

from .faults import Server
from .work import TINY, Work, logits_work


@pytest.fixture
def logits() -> Work:
    return logits_work()


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("", "it must be one of those installed"),
        ("goldne", r"no device 'goldne'.*golden"),
        ("/dev/no-such-port", "cannot open /dev/no-such-port: no such port"),
        ("/dev/null", "not a serial port"),
        ("/tmp", "a folder, not a serial port"),
        ("socket://127.0.0.1", "names no TCP port"),
        ("socket://127.0.0.1:1", "connection refused"),
        ("udp://127.0.0.1", "names no UDP port"),
        ("udp://127.0.0.1:x", "names no UDP port"),
        ("sokcet://127.0.0.1:1", "protocol 'sokcet' not known"),
    ],
)
def test_what_cannot_be_opened_is_named(device: str, reason: str) -> None:
    with pytest.raises(TransportError, match=reason) as error:
        open_transport(device)
    assert "\n" not in str(error.value)


def test_a_device_whose_package_is_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = EntryPoint("fast", "no_such_package.transport:open", "plum_host.transports")
    monkeypatch.setattr(find, "entry_points", lambda group: EntryPoints([entry]))
    with pytest.raises(TransportError, match="'fast' needs no_such_package: pip install"):
        open_transport("fast")


class Terminal:
    """A golden device on a pseudo-terminal: to the host it is a serial port."""

    def __init__(self) -> None:
        self._end, other = os.openpty()
        tty.setraw(other)
        self.port = os.ttyname(other)
        self._other = other
        self._device = GoldenDevice(TINY)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closing:
            if not select.select([self._end], [], [], 0.05)[0]:
                continue
            answer = self._device.feed(os.read(self._end, 4096))
            while answer:
                answer = answer[os.write(self._end, answer) :]

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        os.close(self._other)
        os.close(self._end)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = Terminal()
    yield opened
    opened.close()


def test_a_network_runs_on_a_serial_port(terminal: Terminal, logits: Work) -> None:
    with Session.open(terminal.port, baud=115200) as session:
        session.load(logits.bundle)
        assert np.array_equal(session.run(logits.images).outputs, logits.outputs)


@pytest.mark.parametrize("seed", range(2))
def test_a_bad_serial_line_costs_time_and_nothing_else(
    terminal: Terminal, logits: Work, seed: int
) -> None:
    faults = Faults(drop=0.02, corrupt=0.02, repeat=0.02, reorder=0.02, cut=0.02, seed=seed)
    line = FaultyTransport(SerialTransport(terminal.port), faults)
    with Session(line) as session:
        session.load(logits.bundle)
        result = session.run(np.concatenate([logits.images] * 20))
        assert np.array_equal(result.outputs, np.concatenate([logits.outputs] * 20))
    assert line.out.faults
    assert line.back.faults


class Datagrams:
    """A golden device that is reached by UDP, over a net that loses and shuffles datagrams."""

    def __init__(self, faults: Faults) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"udp://127.0.0.1:{self._socket.getsockname()[1]}"
        self._device = GoldenDevice(TINY)
        self._in, self._out = Spoiler(faults, "in"), Spoiler(faults, "out")
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        peer = None
        while not self._closing:
            if not select.select([self._socket], [], [], 0.02)[0]:
                if peer is not None and (late := self._out.flush()):
                    self._socket.sendto(late, peer)
                continue
            data, peer = self._socket.recvfrom(65536)
            for part in self._in.spoil_frame(data):
                for frame in self._device.feed(part).split(b"\0"):
                    for answer in self._out.spoil_frame(frame + b"\0"):
                        self._socket.sendto(answer, peer)

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        self._socket.close()


@pytest.mark.parametrize("share", [0.0, 0.03])
def test_a_network_runs_over_datagrams(logits: Work, share: float) -> None:
    device = Datagrams(Faults(drop=share, repeat=share, reorder=share, delay=share, seed=3))
    try:
        with Session.open(device.url) as session:
            assert session.name == device.url
            session.load(logits.bundle)
            result = session.run(np.concatenate([logits.images] * 10))
            assert np.array_equal(result.outputs, np.concatenate([logits.outputs] * 10))
            assert session.verify()
    finally:
        device.close()


def test_nobody_at_a_udp_port_is_an_error_in_bounded_time() -> None:
    with pytest.raises(DeviceTimeoutError, match=r"udp://127\.0\.0\.1:9: no good answer to RESET"):
        Session.open("udp://127.0.0.1:9", timeout=0.05)


def test_a_port_in_use_is_busy_and_free_afterwards(terminal: Terminal) -> None:
    with (
        Session.open(terminal.port),
        pytest.raises(TransportError, match="another program uses it"),
    ):
        Session.open(terminal.port)
    with Session.open(terminal.port) as session:
        assert session.identify().digest == TINY.digest


def test_a_silent_device_is_an_error_in_bounded_time() -> None:
    def silent(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    with Server(silent) as server:
        begin = time.monotonic()
        with pytest.raises(DeviceTimeoutError, match=r"4 attempts of 0\.05 s"):
            Session.open(server.url, timeout=0.05)
        assert time.monotonic() - begin < 5


def test_a_device_that_sends_rubbish_is_an_error_in_bounded_time() -> None:
    def rubbish(connection: socket.socket) -> None:
        source = np.random.default_rng(0)
        while connection.recv(4096):
            connection.sendall(source.bytes(3000))

    with Server(rubbish) as server, pytest.raises(DeviceTimeoutError):
        Session.open(server.url, timeout=0.05)


def test_a_device_that_never_stops_sending_is_an_error_in_bounded_time() -> None:
    def floods(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"\xff" * 4096)

    with Server(floods) as server:
        begin = time.monotonic()
        with pytest.raises(DeviceTimeoutError):
            Session.open(server.url, timeout=0.05)
        assert time.monotonic() - begin < 5


def test_a_device_that_goes_away_is_an_error_and_another_session_works(logits: Work) -> None:
    device = GoldenDevice(TINY)

    def leaves(connection: socket.socket) -> None:
        while not device.machine.result_count:
            connection.sendall(device.feed(connection.recv(4096)))

    def stays(connection: socket.socket) -> None:
        while data := connection.recv(4096):
            connection.sendall(device.feed(data))

    with Server(leaves) as server, Session.open(server.url) as session:
        session.load(logits.bundle)
        with pytest.raises(TransportError, match="the connection broke"):
            session.run(np.concatenate([logits.images] * 10))
        with pytest.raises(TransportError):
            session.identify()
    with Server(stays) as server, Session.open(server.url) as session:
        session.load(logits.bundle)
        assert np.array_equal(session.run(logits.images).outputs, logits.outputs)


def test_closing_twice_is_allowed(tmp_path: Path) -> None:
    session = Session.open("golden", "tiny")
    session.close()
    session.close()
