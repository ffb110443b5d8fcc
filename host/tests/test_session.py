"""Sessions on golden devices, behind good lines and bad ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from plum_host.client import RunLostError
from plum_host.errors import (
    ConfigMismatchError,
    DeviceBusyError,
    DeviceTimeoutError,
    ImageError,
    PlumHostError,
    ProtocolError,
    TransportError,
)
from plum_host.packets import PacketParser, encode
from plum_host.protocol import Op, Space, Status
from plum_host.session import Session
from plum_host.transports import InProcessTransport
from plum_hw.config import PRESETS, ArrayConfig, preset
from plum_hw.golden.device import GoldenDevice
from plum_hw.layouts import SPACE_BYTES, space_words

from .faults import BadLine, Scripted
from .work import TINY, Work, clusters_work, logits_work, map_work, parts_work


@pytest.fixture
def logits() -> Work:
    return logits_work()


@pytest.fixture
def feature_map() -> Work:
    return map_work()


@pytest.fixture
def device() -> GoldenDevice:
    return GoldenDevice(TINY)


@pytest.fixture
def session(device: GoldenDevice) -> Iterator[Session]:
    with Session(InProcessTransport("golden", device), timeout=0.02) as opened:
        yield opened


def is_run(line: bytes) -> bool:
    """A framed RUN: sequence number and opcode follow the first code byte."""
    return len(line) > 2 and line[2] == Op.RUN


@pytest.mark.parametrize("name", PRESETS)
def test_open_finds_the_golden_device_of_an_array(name: str) -> None:
    with Session.open("golden", name) as session:
        identity = session.identify()
    assert identity.digest == preset(name).digest
    assert identity.packet_bytes == preset(name).packet_bytes
    assert identity.clusters == preset(name).clusters


@pytest.mark.parametrize("config", [None, "no-such-array", {"lanes": 16}])
def test_open_says_what_is_wrong_with_the_array(config: object) -> None:
    with pytest.raises(TransportError, match="golden: "):
        Session.open("golden", config)


@pytest.mark.parametrize("space", [s for s in Space if s not in (Space.RESULT, Space.COUNTER)])
def test_memories_hold_what_is_written(session: Session, space: Space) -> None:
    count = space_words(TINY)[space]
    data = np.random.default_rng(space).bytes(count * SPACE_BYTES[space])
    session.write_memory(space, 0, data)
    assert session.read_memory(space, 0, count) == data
    assert (
        session.read_memory(space, 3, 5) == data[3 * SPACE_BYTES[space] :][: 5 * SPACE_BYTES[space]]
    )


def test_a_network_runs(session: Session, logits: Work, feature_map: Work) -> None:
    for work in (logits, feature_map, logits):
        session.load(work.bundle)
        assert session.identify().clusters == 1
        seen: list[int] = []
        result = session.run(work.images, seen.append)
        assert np.array_equal(result.outputs, work.outputs)
        assert result.outputs.dtype == work.outputs.dtype
        predicted = work.bundle.manifest["predicted_cycles"]
        assert (result.cycles == predicted).all()
        assert seen == [1, 2, 3]
        assert session.counters()["cycles"] == predicted
        assert sum(session.layer_cycles()) == predicted


@pytest.mark.parametrize("make", [clusters_work, parts_work])
def test_a_network_runs_on_clusters_and_in_parts(make: Callable[[], Work]) -> None:
    work = make()
    assert work.bundle.manifest["config"]["clusters"] > 1
    assert (len(work.bundle.parts) > 1) == (make is parts_work)
    device = GoldenDevice(ArrayConfig.from_dict(work.bundle.manifest["config"]))
    with Session(InProcessTransport("golden", device), timeout=0.02) as session:
        session.load(work.bundle)
        for _ in range(2):
            result = session.run(work.images)
            assert np.array_equal(result.outputs, work.outputs)
            assert (result.cycles == work.bundle.manifest["predicted_cycles"]).all()
            layers = [layer["cycles"] for layer in work.bundle.manifest["layers"]]
            assert session.layer_cycles() == layers
            assert session.counters()["cycles"] == sum(layers)


def test_no_images_make_no_outputs(session: Session, logits: Work) -> None:
    session.load(logits.bundle)
    result = session.run(logits.images[:0])
    assert result.outputs.shape == (0, *logits.outputs.shape[1:])
    assert result.outputs.dtype == logits.outputs.dtype
    assert len(result.cycles) == 0


def test_a_bundle_for_another_array_is_refused_and_the_one_loaded_stays(
    session: Session, logits: Work
) -> None:
    session.load(logits.bundle)
    with (
        Session.open("golden", "tiny-3") as other,
        pytest.raises(ConfigMismatchError, match="compile the network for that array"),
    ):
        other.load(logits.bundle)
    assert np.array_equal(session.run(logits.images).outputs, logits.outputs)


def test_wrong_images_are_an_error_and_the_session_goes_on(session: Session, logits: Work) -> None:
    with pytest.raises(PlumHostError, match="no bundle is loaded"):
        session.run(logits.images)
    session.load(logits.bundle)
    with pytest.raises(ImageError, match="float64"):
        session.run(logits.images.astype(float))
    with pytest.raises(ImageError, match="shape"):
        session.run(logits.images[:, :, 1:])
    assert np.array_equal(session.run(logits.images).outputs, logits.outputs)


def test_half_a_word_is_not_written(session: Session) -> None:
    with pytest.raises(PlumHostError, match="multiple of 8"):
        session.write_memory(Space.ACTIVATION, 0, b"12345")


def test_a_refused_request_leaves_the_session_usable(session: Session) -> None:
    with pytest.raises(ProtocolError, match="READ was refused: BAD_ADDRESS"):
        session.read_memory(Space.CODE, TINY.code_depth, 1)
    assert session.identify().digest == TINY.digest


@pytest.mark.parametrize("seed", range(12))
def test_a_bad_line_costs_time_and_nothing_else(seed: int, logits: Work) -> None:
    line = BadLine(GoldenDevice(TINY), seed, 0.03)
    with Session(InProcessTransport("bad", line), timeout=0.002) as session:
        session.load(logits.bundle)
        for _ in range(5):
            result = session.run(logits.images)
            assert np.array_equal(result.outputs, logits.outputs)
    assert line.faults, "nothing was tested"


def test_a_dead_line_is_an_error_in_bounded_time(logits: Work) -> None:
    line = BadLine(GoldenDevice(TINY), 0, 0.0)
    with Session(InProcessTransport("line", line), timeout=0.01) as session:
        session.load(logits.bundle)
        line._rate = 1.0
        with pytest.raises(DeviceTimeoutError, match="no good answer to WRITE in 4 attempts"):
            session.run(logits.images)
        line._rate = 0.0
        assert np.array_equal(session.run(logits.images).outputs, logits.outputs)


def test_a_lost_answer_to_run_has_the_image_sent_again(device: GoldenDevice, logits: Work) -> None:
    lost = 0

    class Loses:
        def feed(self, data: bytes) -> bytes:
            nonlocal lost
            answer = device.feed(data)
            if is_run(data) and lost < 3:
                lost += 1
                return b""
            return answer

    with Session(InProcessTransport("line", Loses()), timeout=0.01) as session:
        session.load(logits.bundle)
        assert np.array_equal(session.run(logits.images).outputs, logits.outputs)
        lost = -100
        with pytest.raises(RunLostError):
            session.run(logits.images)
        lost = 3
        assert np.array_equal(session.run(logits.images).outputs, logits.outputs)


class EndlessRun:
    """A device on which a run never ends by itself."""

    def __init__(self, device: GoldenDevice) -> None:
        self._device = device
        self.run: int | None = None

    def feed(self, data: bytes) -> bytes:
        if len(data) < 4:
            return self._device.feed(data)
        sequence, op = data[1], data[2]
        if op == Op.RUN and self.run is None:
            self.run = sequence
            return b""
        if op == Op.ABORT and self.run is not None:
            answer = encode(bytes([self.run, Status.ABORTED]))
            self.run = None
            return answer + self._device.feed(data)
        if op != Op.IDENTIFY and self.run is not None:
            return encode(bytes([sequence, Status.BUSY]))
        return self._device.feed(data)


def test_a_run_that_does_not_end_is_aborted(device: GoldenDevice, logits: Work) -> None:
    endless = EndlessRun(device)
    transport = InProcessTransport("device", endless)
    with Session(transport, timeout=0.01, run_timeout=0.1) as session:
        session.load(logits.bundle)
        with pytest.raises(DeviceTimeoutError, match=r"did not end within 0\.1 s; it was aborted"):
            session.run(logits.images)
        assert endless.run is None
        assert session.identify().digest == TINY.digest


def test_the_next_session_aborts_a_run_that_was_left(device: GoldenDevice, logits: Work) -> None:
    endless = EndlessRun(device)
    endless.run = 77
    with Session(InProcessTransport("device", endless), timeout=0.01) as session:
        session.load(logits.bundle)
        assert endless.run is None


def test_somebody_elses_run_is_busy(device: GoldenDevice) -> None:
    endless = EndlessRun(device)
    with Session(InProcessTransport("device", endless), timeout=0.01) as session:
        session.identify()
        endless.run = 77
        with pytest.raises(DeviceBusyError, match="a run is in progress"):
            session.read_memory(Space.CODE, 0, 1)


def test_an_interrupted_run_is_aborted_by_what_comes_next(
    device: GoldenDevice, logits: Work
) -> None:
    endless = EndlessRun(device)
    transport = InProcessTransport("device", endless)
    receive = transport.receive

    def interrupted(deadline: float) -> bytes:
        if endless.run is not None:
            transport.receive = receive  # type: ignore[method-assign]
            raise KeyboardInterrupt
        return receive(deadline)

    with Session(transport, timeout=0.01) as session:
        session.load(logits.bundle)
        transport.receive = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            session.run(logits.images)
        assert endless.run is not None
        session.identify()
        assert endless.run is None


def test_memory_that_does_not_hold_what_was_written_is_found(
    device: GoldenDevice, logits: Work
) -> None:
    feed = device.feed

    def forgets(data: bytes) -> bytes:
        """Nothing of what is written to table memory arrives; the answer is as if it had."""
        (body,) = PacketParser(TINY.packet_bytes).feed(data) or [None]
        if body and body[1:3] == bytes([Op.WRITE, Space.TABLE]):
            return encode(bytes([body[0], Status.OK]))
        return feed(data)

    device.feed = forgets  # type: ignore[method-assign]
    with (
        Session(InProcessTransport("device", device)) as session,
        pytest.raises(ProtocolError, match="TABLE memory of cluster 0 does not hold"),
    ):
        session.load(logits.bundle)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"nobody", "not a plum device"),
        (b"PLUM\x07\x01" + bytes(16) + b"\x10\x04", "protocol version 7"),
        (b"PLUM\x02\x01" + bytes(16) + b"\x01\x00", "packets of 1 bytes"),
    ],
)
def test_what_is_no_plum_device_is_told_apart(payload: bytes, words: str) -> None:
    def nothing(_: bytes) -> bytes:
        return b""

    def ok(line: bytes) -> bytes:
        return encode(bytes([line[1], Status.OK]))

    def identity(line: bytes) -> bytes:
        return encode(bytes([line[1], Status.OK]) + payload)

    transport = InProcessTransport("device", Scripted(nothing, ok, identity))
    with (
        Session(transport, timeout=0.01) as session,
        pytest.raises(ProtocolError, match=words),
    ):
        session.identify()


def test_an_answer_with_too_few_words_is_noticed(session: Session, device: GoldenDevice) -> None:
    session.identify()
    device._read = lambda arguments: b"1234"  # type: ignore[method-assign]
    with pytest.raises(ProtocolError, match="4 bytes instead of 8"):
        session.read_memory(Space.CODE, 0, 2)
