"""The device's end of the link: whatever comes, the next good packet is answered."""

from __future__ import annotations

import struct
import zlib

import pytest
from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from plum_host.packets import END, PacketParser, encode
from plum_host.protocol import (
    MAX_PACKET_BYTES,
    PROTOCOL_VERSION,
    READ_ONLY_SPACES,
    WRITE_ONLY_SPACES,
    Op,
    Reason,
    Space,
    Status,
)
from plum_hw.config import ArrayConfig
from plum_hw.golden.deframer import Deframer
from plum_hw.golden.device import GoldenDevice
from plum_hw.layouts import LAYER_COUNTERS, SPACE_BYTES, identity, space_words
from plum_hw.presets import preset
from plum_hw.timing import LOAD, SETTLE

TINY = preset("tiny")
THREE = preset("tiny-3")


def open_device(config: ArrayConfig) -> GoldenDevice:
    """A device in a session whose next request has number 9."""
    device = GoldenDevice(config)
    device.feed(encode(bytes([8, Op.RESET, 1, 0])))
    return device


def ask(device: GoldenDevice, body: bytes) -> bytes:
    """The answer to a request, under the number that is due."""
    body = bytes([device._expected]) + body[1:]
    (answer,) = PacketParser(MAX_PACKET_BYTES).feed(device.feed(encode(body)))
    assert isinstance(answer, bytes)
    assert answer[0] == body[0]
    return bytes([9]) + answer[1:]


def read(space: int, cluster: int, address: int, count: int, op: Op = Op.READ) -> bytes:
    return struct.pack("<BBBBHH", 9, op, space, cluster, address, count)


def write(space: int, cluster: int, address: int, data: bytes, count: int | None = None) -> bytes:
    if count is None:
        count = len(data) // SPACE_BYTES.get(Space(space), 4)
    return struct.pack("<BBBBHH", 9, Op.WRITE, space, cluster, address, count) + data


def run(layers: int, *, count: int = 1, program: int = 0, runs: int = 1, at: int = 1) -> bytes:
    place = (Space.RESULT, 0, at - 1, count)
    return struct.pack("<BBBBHHHHHH", 9, Op.RUN, *place, program, layers, runs, at)


# Noise with the structure of packets gets further in than mere bytes.
requests = st.builds(
    lambda number, op, rest: encode(bytes([number, op]) + rest),
    st.integers(0, 2),
    st.integers(0, 7),
    st.binary(max_size=40),
)
noise = st.lists(st.binary(max_size=300) | requests | requests.map(lambda line: line[:7]))


@given(noise)
def test_after_any_bytes_a_good_packet_is_answered_and_a_reset_works(pieces: list[bytes]) -> None:
    device = GoldenDevice(TINY)
    for piece in pieces:
        device.feed(piece)
    line = device.feed(END + encode(bytes([200, Op.PING | 3 << 4])))
    *_, answer = PacketParser(MAX_PACKET_BYTES).feed(line)
    assert isinstance(answer, bytes)
    assert answer[1:4] == bytes([Reason.PONG, 3, 200])
    device.feed(encode(bytes([8, Op.RESET, 0xAA, 0xBB])))
    assert ask(device, read(Space.IDENTITY, 0, 0, 8)) == bytes([9, Status.OK]) + identity(TINY)


@given(st.binary(max_size=2000))
def test_every_answer_to_noise_is_a_packet(data: bytes) -> None:
    answers = PacketParser(MAX_PACKET_BYTES).feed(GoldenDevice(TINY).feed(data + END))
    assert all(isinstance(answer, bytes) for answer in answers)


@given(st.binary(min_size=1, max_size=60), st.integers(0, 80))
def test_deframer_agrees_with_cobs(packet: bytes, cut: int) -> None:
    frame = cobs.encode(packet)[:cut]
    frames = Deframer(100).feed(frame + END)
    try:
        decoded = cobs.decode(frame)
    except cobs.DecodeError:
        assert not frames or not frames[0].intact
        return
    if not decoded:
        assert frames == []
        return
    assert frames[0].packet_bytes == len(decoded)
    right = zlib.crc32(decoded[:-4]).to_bytes(4, "little") == decoded[-4:]
    assert frames[0].intact == right
    if frames[0].body:
        assert frames[0].body == decoded[:-4]
    assert frames[0].head.endswith(decoded[:4])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (bytes([9, 0]), Status.BAD_OP),
        (bytes([9, 7]), Status.BAD_OP),
        (bytes([9, Op.READ, 0]), Status.BAD_LENGTH),
        (run(0), Status.BAD_ADDRESS),
        (run(0xFFFF), Status.BAD_ADDRESS),
        (run(1)[:-1], Status.BAD_LENGTH),
        (run(1) + b"x", Status.BAD_LENGTH),
        (run(1, count=TINY.result_depth + 1), Status.BAD_ADDRESS),
        (read(Space.CODE, 0, 0, 0), Status.OK),
        (read(Space.CODE, 0, 0, 0, Op.CHECK), Status.OK),
        (read(Space.CODE, 0, TINY.code_depth, 1), Status.BAD_ADDRESS),
        (read(Space.CODE, 1, 0, 1), Status.BAD_ADDRESS),
        (read(Space.CODE, 0xFF, 0, 1), Status.BAD_ADDRESS),
        (read(5, 0, 0, 1), Status.BAD_ADDRESS),
        (read(Space.CODE, 0, 0, 1) + b"x", Status.BAD_LENGTH),
        (read(Space.CODE, 0, 0xFFFF, 2), Status.BAD_ADDRESS),
        (read(Space.IDENTITY, 0, 0, 9), Status.BAD_ADDRESS),
        (write(Space.TABLE, 0, 0, b"abc", 1), Status.BAD_LENGTH),
        (write(Space.TABLE, 0, 0, b"abcde", 1), Status.BAD_LENGTH),
        (write(Space.RESULT, 0, 0, b"abcd"), Status.BAD_ADDRESS),
        (write(Space.IDENTITY, 0, 0, b"abcdefgh"), Status.BAD_ADDRESS),
        (write(Space.ACTIVATION, 0xFF, 0, b"abcd", 1), Status.BAD_LENGTH),
        (write(Space.TABLE, 0xFE, 0, b"abcd"), Status.BAD_ADDRESS),
    ],
)
def test_what_is_wrong_with_a_request_is_said(body: bytes, status: Status) -> None:
    device = open_device(TINY)
    assert ask(device, body) == bytes([9, status])
    # What follows is answered with the same status, until a reset.
    assert ask(device, read(Space.CODE, 0, 0, 0)) == bytes([9, status])
    device.feed(encode(bytes([8, Op.RESET, 2, 0])))
    assert ask(device, read(Space.CODE, 0, 0, 0)) == bytes([9, Status.OK])


@pytest.mark.parametrize(
    "space", [s for s in Space if s not in READ_ONLY_SPACES | WRITE_ONLY_SPACES]
)
def test_a_space_holds_what_is_written_up_to_its_last_word(space: Space) -> None:
    device = open_device(THREE)
    size, last = SPACE_BYTES[space], space_words(THREE)[space] - 1
    data = bytes(range(1, size + 1))
    assert ask(device, write(space, 0xFF, last, data)) == bytes([9, Status.OK])
    assert ask(device, write(space, 1, last, data[::-1])) == bytes([9, Status.OK])
    for cluster, held in enumerate((data, data[::-1], data)):
        assert ask(device, read(space, cluster, last, 1)) == bytes([9, Status.OK]) + held
    assert ask(device, write(space, 0xFF, last, 2 * data)) == bytes([9, Status.BAD_ADDRESS])


def test_the_rate_of_the_line_can_be_set_and_not_read() -> None:
    device = open_device(THREE)
    assert ask(device, write(Space.LINE, 0, 0, b"\xae\x07\0\0")) == bytes([9, Status.OK])
    assert device.line_rates == [1966]
    assert ask(device, write(Space.LINE, 0, 1, bytes(4))) == bytes([9, Status.BAD_ADDRESS])
    device = open_device(THREE)
    assert ask(device, read(Space.LINE, 0, 0, 1)) == bytes([9, Status.BAD_ADDRESS])


@pytest.mark.parametrize("space", [Space.RESULT, Space.COUNTER])
def test_results_and_counters_are_of_the_device(space: Space) -> None:
    device = open_device(THREE)
    device.machine.results[2:4] = device.machine.counters[2:4] = (7, 9)
    for cluster in range(3):
        answer = ask(device, read(space, cluster, 2, 2))
        assert answer == bytes([9, Status.OK]) + struct.pack("<II", 7, 9)
    assert ask(device, read(space, 3, 2, 2)) == bytes([9, Status.BAD_ADDRESS])


def test_a_run_answers_with_cycles_and_results() -> None:
    """A descriptor of no passes in every cluster: a layer that takes its frame and no more."""
    device = open_device(THREE)
    frame = LOAD(THREE) + SETTLE(THREE)
    device.machine.results[6] = 1234
    answer = ask(device, run(2, program=40, count=2, at=6))
    assert answer == bytes([9, Status.OK]) + struct.pack("<II", 2 * frame, 1234)
    words = bytes([9, Status.OK]) + struct.pack("<II", frame, frame)
    assert ask(device, read(Space.COUNTER, 0, LAYER_COUNTERS, 2)) == words
    assert device.run_cycles == 2 * frame
    ask(device, run(1, runs=5))
    assert device.run_cycles == 7 * frame


def test_check_is_answered_with_the_checksum_of_what_read_would_give() -> None:
    device = open_device(TINY)
    ask(device, write(Space.CODE, 0, 3, b"some words, some"))
    number = device._expected
    line = device.feed(encode(bytes([number]) + read(Space.CODE, 0, 3, 4, Op.CHECK)[1:]))
    assert line == encode(bytes([number, Status.OK]), hidden=b"some words, some")


def notices(device: GoldenDevice, line: bytes) -> list[bytes]:
    return [bytes(body) for body in PacketParser(100).feed(device.feed(line))]  # type: ignore[arg-type]


def test_what_is_not_due_is_not_carried_out_and_told() -> None:
    device = GoldenDevice(TINY)
    due = write(Space.CODE, 0, 0, b"abcd")
    version = PROTOCOL_VERSION
    assert notices(device, encode(due)) == [bytes([0, Reason.CLOSED, 0, 9, 0, 0, version])]
    reset = encode(bytes([8, Op.RESET | 5 << 4, 1, 0]))
    assert notices(device, reset) == [bytes([9, Reason.RESET, 5, 8, 0, 0, version])]
    assert notices(device, encode(due)) == [bytes([9, Status.OK])]
    for number in (9, 8, 11, 200):
        again = bytes([number, Op.WRITE | 6 << 4]) + write(Space.CODE, 0, 0, b"efgh")[2:]
        told = bytes([10, Reason.GAP, 6, number, 1, 0, version])
        assert notices(device, encode(again)) == [told]
    damaged = bytearray(encode(due))
    damaged[-2] ^= 1
    told = bytes([10, Reason.DAMAGED, 6, 9, 1, 0, version])
    assert notices(device, bytes(damaged)) == [told]
    long = encode(bytes([10, Op.WRITE]) + bytes(TINY.queue_bytes))
    assert notices(device, long) == [bytes([10, Reason.FULL, 0, 10, 1, 0, version])]
    # The same RESET again changes nothing.
    assert notices(device, reset) == [bytes([10, Reason.RESET, 5, 8, 1, 0, version])]
    assert ask(device, read(Space.CODE, 0, 0, 1)) == bytes([9, Status.OK]) + b"abcd"


def test_a_program_that_no_compiler_makes_ends_in_an_answer() -> None:
    device = open_device(TINY)
    ask(device, write(Space.CODE, 0, 0, b"\xff" * 64))
    assert ask(device, run(1))[:2] == bytes([9, Status.OK])
