"""Sessions on golden devices, behind good lines and bad ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from plum_host.errors import (
    ConfigMismatchError,
    DeviceRestartedError,
    DeviceTimeoutError,
    ImageError,
    PlumHostError,
    ProtocolError,
    RefusedError,
    TransportError,
    VerifyError,
)
from plum_host.faults import Faults, FaultyTransport
from plum_host.packets import encode
from plum_host.protocol import (
    IDENTITY,
    READ_ONLY_SPACES,
    WRITE_ONLY_SPACES,
    Op,
    Reason,
    Space,
    Status,
    field_at,
)
from plum_host.session import Session
from plum_host.transports import InProcessTransport
from plum_hw.config import ArrayConfig
from plum_hw.golden.device import GoldenDevice
from plum_hw.layouts import SPACE_BYTES, space_words
from plum_hw.presets import PRESETS, preset

from .faults import DeadLine, EndlessDevice
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


@pytest.mark.parametrize(
    "space", [s for s in Space if s not in READ_ONLY_SPACES | WRITE_ONLY_SPACES]
)
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
    with pytest.raises(RefusedError, match=r"refused: BAD_ADDRESS.* READ"):
        session.read_memory(Space.CODE, TINY.code_depth, 1)
    assert session.identify().digest == TINY.digest


KINDS = ("drop", "corrupt", "repeat", "reorder", "delay", "cut")


@pytest.mark.parametrize("kind", [*KINDS, "all"])
@pytest.mark.parametrize("seed", range(3))
def test_a_bad_line_costs_time_and_nothing_else(seed: int, kind: str, logits: Work) -> None:
    """Every image is run once, and every result is right."""
    device = GoldenDevice(TINY)
    shares = {name: 0.02 for name in KINDS} if kind == "all" else {kind: 0.1}
    faults = dataclasses.replace(Faults(seed=seed), **shares)  # type: ignore[arg-type]
    line = FaultyTransport(InProcessTransport("bad", device), faults)
    runs = 0
    run = device.machine.run

    def counted(*arguments: int) -> None:
        nonlocal runs
        runs += 1
        run(*arguments)

    device.machine.run = counted  # type: ignore[method-assign, assignment]
    with Session(line) as session:
        session.load(logits.bundle)
        for _ in range(5):
            result = session.run(np.concatenate([logits.images] * 4))
            assert np.array_equal(result.outputs, np.concatenate([logits.outputs] * 4))
            assert (result.cycles == logits.bundle.manifest["predicted_cycles"]).all()
        assert runs == 5 * 4 * len(logits.images)
        assert session.verify() > 0
    assert line.out.faults, "nothing was tested"
    assert line.back.faults, "nothing was tested"


@pytest.mark.parametrize("make", [map_work, clusters_work, parts_work])
def test_maps_and_parts_over_a_bad_line(make: Callable[[], Work]) -> None:
    work = make()
    device = GoldenDevice(ArrayConfig.from_dict(work.bundle.manifest["config"]))
    faults = Faults(drop=0.03, corrupt=0.03, repeat=0.03, reorder=0.03, seed=7)
    line = FaultyTransport(InProcessTransport("bad", device), faults)
    with Session(line) as session:
        session.load(work.bundle)
        for _ in range(3):
            result = session.run(work.images)
            assert np.array_equal(result.outputs, work.outputs)
            assert (result.cycles == work.bundle.manifest["predicted_cycles"]).all()
            layers = [layer["cycles"] for layer in work.bundle.manifest["layers"]]
            assert session.layer_cycles() == layers
    assert line.out.faults


def test_a_dead_line_is_an_error_in_bounded_time(logits: Work) -> None:
    line = DeadLine(GoldenDevice(TINY))
    with Session(InProcessTransport("line", line), timeout=0.01) as session:
        session.load(logits.bundle)
        line.dead = True
        with pytest.raises(DeviceTimeoutError, match="no good answer to WRITE in 4 attempts"):
            session.run(logits.images)
        line.dead = False
        assert np.array_equal(session.run(logits.images).outputs, logits.outputs)


def test_a_restarted_device_is_an_error_and_must_be_loaded_again(logits: Work) -> None:
    class Powered:
        device = GoldenDevice(TINY)

        def feed(self, data: bytes) -> bytes:
            return self.device.feed(data)

    power = Powered()
    with Session(InProcessTransport("device", power)) as session:
        session.load(logits.bundle)
        results = session.stream(iter(logits.images), depth=1)
        assert np.array_equal(next(results).output, logits.outputs[0])
        power.device = GoldenDevice(TINY)
        with pytest.raises(DeviceRestartedError, match="was restarted: load the network again"):
            next(results)
        with pytest.raises(PlumHostError, match="no bundle is loaded"):
            session.run(logits.images)
        session.load(logits.bundle)
        assert np.array_equal(session.run(logits.images).outputs, logits.outputs)


def test_another_program_that_opens_the_device_is_noticed(logits: Work) -> None:
    device = GoldenDevice(TINY)
    with Session(InProcessTransport("device", device)) as session:
        session.load(logits.bundle)
        for _ in range(9):  # at some numbers it may look like packets that were lost
            device.feed(encode(bytes([200, Op.RESET, 1, 2])))
            device._session = None
            with pytest.raises(DeviceRestartedError):
                session.run(logits.images)
            session.load(logits.bundle)


def test_results_of_a_stream_come_in_order_and_as_soon_as_they_can(logits: Work) -> None:
    with Session.open("golden", TINY) as session:
        session.load(logits.bundle)
        taken = 0

        def images() -> Iterator[np.ndarray]:
            nonlocal taken
            for _ in range(4):
                for image in logits.images:
                    taken += 1
                    yield image

        for depth in (1, 3, None):
            taken = 0
            for number, result in enumerate(session.stream(images(), depth=depth)):
                assert result.number == number
                assert np.array_equal(result.output, logits.outputs[number % 3])
                assert result.cycles == logits.bundle.manifest["predicted_cycles"]
                assert depth is None or taken <= number + depth
            assert number == 4 * 3 - 1
        with pytest.raises(PlumHostError, match="depth is 0"):
            session.stream([], depth=0)


def test_a_stream_that_is_left_leaves_the_session_usable(logits: Work) -> None:
    with Session.open("golden", TINY) as session:
        session.load(logits.bundle)
        for _ in range(3):
            next(session.stream(iter(np.concatenate([logits.images] * 9))))
        assert np.array_equal(session.run(logits.images).outputs, logits.outputs)


def test_replay_takes_the_cycles_of_the_network(session: Session, logits: Work) -> None:
    session.load(logits.bundle)
    assert session.replay(4) == logits.bundle.manifest["predicted_cycles"]
    with pytest.raises(PlumHostError, match="runs is 0; it must be 1 to 32768"):
        session.replay(0)
    assert np.array_equal(session.run(logits.images).outputs, logits.outputs)


def test_a_run_that_does_not_end_is_stopped(logits: Work) -> None:
    device = EndlessDevice(TINY)
    transport = InProcessTransport("device", device)
    with Session(transport, timeout=0.01, run_timeout=0.1) as session:
        session.load(logits.bundle)
        with pytest.raises(DeviceTimeoutError, match=r"did not end within 0\.1 s; it was stopped"):
            session.run(logits.images)
        assert not device.running
        device.endless = False
        assert np.array_equal(session.run(logits.images).outputs, logits.outputs)


def test_the_next_session_stops_a_run_that_was_left(logits: Work) -> None:
    device = EndlessDevice(TINY)
    device.running, device.endless = True, False
    with Session(InProcessTransport("device", device), timeout=0.01) as session:
        session.load(logits.bundle)
        assert not device.running


def test_an_interrupted_run_is_stopped_by_what_comes_next(logits: Work) -> None:
    device = EndlessDevice(TINY)
    transport = InProcessTransport("device", device)
    receive = transport.receive

    def interrupted(deadline: float) -> bytes:
        if device.running:
            transport.receive = receive  # type: ignore[method-assign]
            raise KeyboardInterrupt
        return receive(deadline)

    with Session(transport, timeout=0.01) as session:
        session.load(logits.bundle)
        transport.receive = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            session.run(logits.images)
        assert device.running
        session.identify()
        assert not device.running


def test_memory_that_does_not_hold_what_was_written_is_found(
    device: GoldenDevice, logits: Work
) -> None:
    write = device.machine.write

    def forgets(space: Space, address: int, data: bytes, cluster: int | None) -> None:
        """Nothing of what is written to table memory arrives; the answer is as if it had."""
        if space != Space.TABLE:
            write(space, address, data, cluster)

    device.machine.write = forgets  # type: ignore[method-assign, assignment]
    with (
        Session(InProcessTransport("device", device)) as session,
        pytest.raises(VerifyError, match="TABLE memory of cluster 0 holds 0x00000000 in word"),
    ):
        session.load(logits.bundle)


def test_verify_names_the_word_that_changed(session: Session, logits: Work) -> None:
    with pytest.raises(PlumHostError, match="no bundle is loaded"):
        session.verify()
    session.load(logits.bundle)
    assert session.verify() == sum(len(words) for words in logits.bundle.code[0]) + sum(
        len(words) for words in logits.bundle.table[0]
    )
    held = int(logits.bundle.code[0][0][5])
    session.write_memory(Space.CODE, 5, (held ^ 0x10000).to_bytes(4, "little"))
    text = f"CODE memory of cluster 0 holds 0x{held ^ 0x10000:08x} in word 5; 0x{held:08x} was"
    with pytest.raises(VerifyError, match=text):
        session.verify()


def notice(fields: list[int]) -> bytes:
    return encode(bytes(fields))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (encode(b"nobody"), "not a plum device"),
        (encode(bytes([1, Status.OK]) + b"PLUM"), "not a plum device"),
        (notice([1, Reason.RESET, 0, 0, 0, 0, 77]), "protocol version 77"),
    ],
)
def test_what_is_no_plum_device_is_told_apart(answer: bytes, words: str) -> None:
    class Other:
        def feed(self, data: bytes) -> bytes:
            return answer

    transport = InProcessTransport("device", Other())
    with (
        Session(transport, timeout=0.01) as session,
        pytest.raises(ProtocolError, match=words),
    ):
        session.identify()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("magic", b"MULP", "not a plum device"),
        ("version", b"\x07", "protocol version 7"),
        ("packet_bytes", b"\x01\x00", "packets of 1 bytes"),
        ("queue_bytes", b"\x50\x00", "queue has 80 places"),
    ],
)
def test_a_wrong_identity_is_told(
    session: Session, device: GoldenDevice, field: str, value: bytes, words: str
) -> None:
    at, size = field_at(IDENTITY, field)
    known = device._identity
    device._identity = known[:at] + value + known[at + size :]
    with pytest.raises(ProtocolError, match=words):
        session.identify()


def test_an_answer_with_too_few_words_is_noticed(session: Session, device: GoldenDevice) -> None:
    session.identify()
    device._read = lambda *place: b"1234"  # type: ignore[method-assign]
    with pytest.raises(ProtocolError, match="4 bytes instead of 8"):
        session.read_memory(Space.CODE, 0, 2)
