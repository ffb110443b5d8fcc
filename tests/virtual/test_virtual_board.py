"""The virtual board over its real socket, with the host code that talks to real boards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import serial

from plum_host.bundle import Bundle
from plum_host.errors import (
    ConfigMismatchError,
    DeviceRestartedError,
    DeviceTimeoutError,
    PlumHostError,
    TransportError,
)
from plum_host.faults import Faults, FaultyTransport
from plum_host.packets import encode
from plum_host.protocol import (
    PROTOCOL_VERSION,
    READ_ONLY_SPACES,
    WRITE_ONLY_SPACES,
    Op,
    Reason,
    Space,
    Status,
)
from plum_host.session import Session
from plum_host.transports import InProcessTransport, SerialTransport
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.errors import BuildError
from plum_hw.golden.device import GoldenDevice
from plum_hw.ir.random import random_images, random_network
from plum_hw.layouts import SPACE_BYTES, layer_layout, space_words
from plum_hw.presets import preset
from plum_hw.virtual import VirtualBoard, emit_verilog
from tests.arrays import SHORT

TINY = preset("tiny")
THREE = SHORT


@pytest.fixture(scope="module")
def board() -> Iterator[VirtualBoard]:
    with VirtualBoard(TINY) as opened:
        yield opened


@pytest.fixture
def session(board: VirtualBoard) -> Iterator[Session]:
    with Session.open(board.url, timeout=5) as opened:
        yield opened


@pytest.fixture(scope="module")
def three() -> Iterator[VirtualBoard]:
    """A board of three clusters."""
    with VirtualBoard(THREE) as opened:
        yield opened


def golden_session(config: ArrayConfig = TINY) -> Session:
    return Session(InProcessTransport("golden", GoldenDevice(config)))


def endless_program() -> bytes:
    """A layer descriptor with all bits set: it keeps the array at work for very long."""
    return b"\xff" * (4 * layer_layout(TINY).words)


def leave_running(url: str) -> None:
    """Be a host that starts a long run and vanishes."""
    line = serial.serial_for_url(url, timeout=5)
    line.write(encode(bytes([0, Op.RESET, 99, 99])))
    count = layer_layout(TINY).words
    place = bytes([Space.CODE, 0, 0, 0, count, 0])
    line.write(encode(bytes([1, Op.WRITE]) + place + endless_program()))
    run = bytes([Space.RESULT, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0])
    line.write(encode(bytes([2, Op.RUN]) + run))
    line.write(encode(bytes([3, Op.READ]) + place))
    line.read_until(encode(bytes([1, Status.OK])))
    line.write(encode(bytes([77, Op.PING])))
    # Three were taken up and one is done; the run holds the others up.
    pong = encode(bytes([4, Reason.PONG, 0, 77, 1, 0, PROTOCOL_VERSION]))
    assert line.read_until(pong).endswith(pong)
    line.close()


def test_identity(session: Session) -> None:
    found = session.identify()
    assert (found.digest, found.clusters) == (TINY.digest, TINY.clusters)


@pytest.mark.parametrize(
    "space", [s for s in Space if s not in READ_ONLY_SPACES | WRITE_ONLY_SPACES]
)
def test_memories_hold_what_is_written(session: Session, space: Space) -> None:
    count = space_words(TINY)[space]
    data = np.random.default_rng(space).bytes(count * SPACE_BYTES[space])
    session.write_memory(space, 0, data)
    assert session.read_memory(space, 0, count) == data


@pytest.mark.parametrize("seed", [0, 100, 200, 300, 400])
def test_networks_run_as_on_the_golden_machine(session: Session, seed: int) -> None:
    while check_network(network := random_network(seed, max_macs=300_000), TINY):
        seed += 1
    print("seed", seed)
    same_as_golden(session, compile_network(network, TINY), random_images(network, 3, seed))


@pytest.mark.parametrize("seed", [0, 100, 200])
def test_networks_run_on_three_clusters(three: VirtualBoard, seed: int) -> None:
    while check_network(network := random_network(seed, max_macs=300_000), THREE):
        seed += 1
    print("seed", seed)
    with Session.open(three.url, timeout=5) as session:
        for group in (1, 2):
            bundle = compile_network(network, THREE, group=group)
            same_as_golden(session, bundle, random_images(network, 3, seed))


def test_a_network_in_parts(three: VirtualBoard) -> None:
    seed = 0
    while True:
        network = random_network(seed, max_macs=2_000_000, schemes=["int"], logits=True)
        if not check_network(network, THREE):
            bundle = compile_network(network, THREE)
            if len(bundle.parts) > 1:
                break
        seed += 1
    print("seed", seed, "parts", bundle.parts)
    with Session.open(three.url, timeout=5) as session:
        same_as_golden(session, bundle, random_images(network, 3, seed))


def same_as_golden(session: Session, bundle: Bundle, images: np.ndarray) -> None:
    """Outputs, cycles and counters of a bundle."""
    config = ArrayConfig.from_dict(bundle.manifest["config"])
    with golden_session(config) as golden:
        golden.load(bundle)
        expected = golden.run(images)
        session.load(bundle)
        result = session.run(images)
        assert np.array_equal(result.outputs, expected.outputs)
        assert (result.cycles == bundle.manifest["predicted_cycles"]).all()
        assert session.counters() == golden.counters()
        assert session.layer_cycles() == golden.layer_cycles()


def test_a_bundle_for_another_array_is_refused(session: Session) -> None:
    network = random_network(1, max_layers=2, max_macs=10_000)
    with pytest.raises(ConfigMismatchError, match=THREE.name):
        session.load(compile_network(network, THREE))
    assert session.identify().digest == TINY.digest


def test_a_second_client_is_sent_away(board: VirtualBoard, session: Session) -> None:
    with pytest.raises(TransportError, match="another program holds it"):
        Session.open(board.url)
    assert session.identify().digest == TINY.digest


@pytest.mark.parametrize("repeat", range(3))
def test_a_run_that_a_host_left_is_stopped(board: VirtualBoard, repeat: int) -> None:
    leave_running(board.url)
    with Session.open(board.url) as session:
        session.write_memory(Space.CODE, 0, bytes(8))
        assert session.read_memory(Space.CODE, 0, 2) == bytes(8)


def test_a_run_that_does_not_end_is_stopped(board: VirtualBoard) -> None:
    network = random_network(1, max_layers=2, max_macs=10_000)
    bundle = compile_network(network, TINY)
    images = random_images(network, 1, 0)
    with Session.open(board.url, timeout=0.2, run_timeout=0.5) as session:
        session.load(bundle)
        session.write_memory(Space.CODE, 0, endless_program())
        with pytest.raises(DeviceTimeoutError, match="it was stopped"):
            session.run(images)
        session.load(bundle)
        assert (session.run(images).cycles == bundle.manifest["predicted_cycles"]).all()


@pytest.mark.parametrize("cut", [1, 5, 60, 400])
def test_a_host_that_vanishes_in_mid_packet_leaves_nothing(board: VirtualBoard, cut: int) -> None:
    line = serial.serial_for_url(board.url)
    line.write(encode(bytes([0, Op.RESET, 99, 98])))
    write = bytes([1, Op.WRITE, Space.TABLE, 0, 0, 0, 0, 1]) + b"\xaa" * 1024
    line.write(encode(write)[:cut])
    line.close()
    with Session.open(board.url) as session:
        session.write_memory(Space.TABLE, 0, b"abcd" * 300)
        assert session.read_memory(Space.TABLE, 0, 300) == b"abcd" * 300


def test_after_noise_a_ping_is_answered_as_by_golden(board: VirtualBoard) -> None:
    source, golden = np.random.default_rng(20240511), GoldenDevice(TINY)
    line = serial.serial_for_url(board.url, timeout=5)
    reset = encode(bytes([8, Op.RESET, 99, 97]))
    golden.feed(reset)
    line.write(reset)
    for number in range(60):
        noise = source.bytes(int(source.integers(1, 3000))) + b"\0"
        golden.feed(noise)
        line.write(noise)
        ping = encode(bytes([number, Op.PING]))
        line.write(ping)
        expected = golden.feed(ping)
        # Notices close together become one, so those before it are not compared.
        assert line.read_until(expected).endswith(expected)
    line.close()


def test_a_killed_board_is_an_error_and_a_new_one_works() -> None:
    network = random_network(1, max_layers=2, max_macs=10_000)
    bundle = compile_network(network, TINY)
    images = random_images(network, 2, 0)
    with VirtualBoard(TINY) as doomed, Session.open(doomed.url) as session:
        session.load(bundle)

        def kill(_: int) -> None:
            os.kill(doomed.pid, signal.SIGKILL)

        with pytest.raises(TransportError, match="the connection broke"):
            session.run(np.concatenate([images] * 50), kill)
        with pytest.raises(TransportError):
            session.identify()
    with Session.open("virtual", "tiny") as session:
        session.load(bundle)
        assert (session.run(images).cycles == bundle.manifest["predicted_cycles"]).all()


def test_a_power_cut_in_mid_stream_gives_an_error_and_no_wrong_result() -> None:
    """The board is gone between two images, and another one with empty memories is in its place."""
    network = random_network(1, max_layers=2, max_macs=10_000)
    bundle = compile_network(network, TINY)
    images = random_images(network, 40, 0)
    with golden_session() as golden:
        golden.load(bundle)
        expected = golden.run(images).outputs
    with VirtualBoard(TINY) as board, Session.open(board.url) as session:
        session.load(bundle)
        seen = 0

        def watch() -> None:
            nonlocal seen
            for result in session.stream(images):
                assert np.array_equal(result.output, expected[result.number])
                seen += 1
                if seen == 7:
                    board.power_cycle()

        with pytest.raises(DeviceRestartedError, match="was restarted: load the network again"):
            watch()
        assert 7 <= seen < len(images)
        with pytest.raises(PlumHostError, match="no bundle is loaded"):
            session.run(images)
        session.load(bundle)
        assert np.array_equal(session.run(images).outputs, expected)


@pytest.mark.parametrize("seed", range(2))
def test_a_bad_line_costs_time_and_nothing_else(board: VirtualBoard, seed: int) -> None:
    network = random_network(1, max_layers=2, max_macs=10_000)
    bundle = compile_network(network, TINY)
    images = random_images(network, 20, 0)
    with golden_session() as golden:
        golden.load(bundle)
        expected = golden.run(images).outputs
    faults = Faults(drop=0.03, corrupt=0.03, repeat=0.03, reorder=0.03, cut=0.01, seed=seed)
    line = FaultyTransport(SerialTransport(board.url), faults)
    with Session(line) as session:
        session.load(bundle)
        assert np.array_equal(session.run(images).outputs, expected)
        assert session.verify()
    assert line.out.faults
    assert line.back.faults


def test_datagrams(board: VirtualBoard) -> None:
    network = random_network(1, max_layers=2, max_macs=10_000)
    bundle = compile_network(network, TINY)
    with Session.open(board.udp_url, timeout=5) as session:
        same_as_golden(session, bundle, random_images(network, 20, 0))
    with Session.open(board.url, timeout=5) as session:
        same_as_golden(session, bundle, random_images(network, 3, 0))


def test_nothing_is_simulated_while_nothing_happens(board: VirtualBoard, session: Session) -> None:
    session.identify()
    time.sleep(0.5)
    before = cpu_seconds(board.pid)
    time.sleep(1)
    assert cpu_seconds(board.pid) - before < 0.1


def test_speed_is_told_at_the_end() -> None:
    with VirtualBoard(TINY) as board:
        assert board.cycles_per_second is None
        Session.open(board.url).close()
    assert board.cycles_per_second is not None
    assert board.cycles_per_second > 1000
    board.close()


def test_a_board_ends_with_its_parent() -> None:
    script = """
        import os, sys
        from plum_hw.presets import preset
        from plum_hw.virtual import VirtualBoard
        print(VirtualBoard(preset("tiny")).pid, flush=True)
        sys.stdin.read()
        os._exit(1)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    board = int(parent.stdout.readline())
    assert exists(board)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while exists(board) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not exists(board)


def test_a_port_that_is_taken_is_named(board: VirtualBoard) -> None:
    with pytest.raises(BuildError, match=f"port {board.port}: .*Address already in use"):
        VirtualBoard(TINY, port=board.port)


def test_an_unknown_array_is_named() -> None:
    with pytest.raises(TransportError, match=r"no array preset 'huge'.*tiny"):
        Session.open("virtual", "huge")


def test_the_verilog_is_the_same_every_time() -> None:
    script = """
        import sys
        from plum_hw.presets import preset
        from plum_hw.virtual import emit_verilog
        sys.stdout.write(emit_verilog(preset("tiny")))
    """
    # Sets and hashes are in another order in another process.
    again = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert again.stdout == emit_verilog(TINY)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def exists(pid: int) -> bool:
    """Whether a process is alive; one that only waits for its parent's notice is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
