"""The device's end of the link: whatever comes, the next good packet is answered."""

from __future__ import annotations

import struct

import pytest
from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from plum_host.packets import END, PacketParser, encode
from plum_host.protocol import MAX_PACKET_BYTES, Op, Space, Status
from plum_hw.config import preset
from plum_hw.golden.deframer import Deframer
from plum_hw.golden.device import GoldenDevice
from plum_hw.layouts import LAYER_COUNTERS, SPACE_BYTES, identity, space_words
from plum_hw.timing import LOAD, SETTLE

TINY = preset("tiny")
THREE = preset("tiny-3")


def ask(device: GoldenDevice, body: bytes) -> bytes:
    (answer,) = PacketParser(MAX_PACKET_BYTES).feed(device.feed(encode(body)))
    assert answer is not None
    return answer


def read(space: int, cluster: int, address: int, count: int) -> bytes:
    return struct.pack("<BBBBIH", 9, Op.READ, space, cluster, address, count)


def write(space: int, cluster: int, address: int, data: bytes) -> bytes:
    return struct.pack("<BBBBI", 9, Op.WRITE, space, cluster, address) + data


# Noise with the structure of packets gets further in than mere bytes.
requests = st.builds(
    lambda op, rest: encode(bytes([1, op]) + rest), st.integers(0, 7), st.binary(max_size=40)
)
noise = st.lists(st.binary(max_size=300) | requests | requests.map(lambda line: line[:7]))


@given(noise)
def test_after_any_bytes_a_good_packet_is_answered(pieces: list[bytes]) -> None:
    device = GoldenDevice(TINY)
    for piece in pieces:
        device.feed(piece)
    line = device.feed(END + encode(bytes([200, Op.IDENTIFY])))
    *_, answer = PacketParser(MAX_PACKET_BYTES).feed(line)
    assert answer == bytes([200, Status.OK]) + identity(TINY)


@given(st.binary(max_size=2000))
def test_every_answer_to_noise_is_a_packet(data: bytes) -> None:
    answers = PacketParser(MAX_PACKET_BYTES).feed(GoldenDevice(TINY).feed(data + END))
    assert None not in answers


@given(st.binary(min_size=1, max_size=60), st.integers(0, 80))
def test_deframer_agrees_with_cobs(packet: bytes, cut: int) -> None:
    frame = cobs.encode(packet)[:cut]
    frames = Deframer(100).feed(frame + END)
    if not frame:
        assert frames == []
        return
    assert not frames[0].good or frames[0].body == packet[:-4]
    if len(frame) > 1:
        assert frames[0].good or frames[0].body in (packet[:1], b"")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (bytes([9]), Status.BAD_LENGTH),
        (bytes([9, 0]), Status.BAD_OP),
        (bytes([9, 77]), Status.BAD_OP),
        (bytes([9, Op.IDENTIFY, 0]), Status.BAD_LENGTH),
        (bytes([9, Op.ABORT]), Status.OK),
        (bytes([9, Op.RUN, 0]), Status.BAD_LENGTH),
        (struct.pack("<BBHH", 9, Op.RUN, 0, 0), Status.BAD_ADDRESS),
        (struct.pack("<BBHH", 9, Op.RUN, TINY.code_depth - 1, 1), Status.BAD_ADDRESS),
        (struct.pack("<BBHH", 9, Op.RUN, 0, 0xFFFF), Status.BAD_ADDRESS),
        (read(Space.CODE, 0, 0, 0), Status.OK),
        (read(Space.CODE, 0, TINY.code_depth, 1), Status.BAD_ADDRESS),
        (read(Space.CODE, 1, 0, 1), Status.BAD_ADDRESS),
        (read(Space.CODE, 0xFF, 0, 1), Status.BAD_ADDRESS),
        (read(5, 0, 0, 1), Status.BAD_ADDRESS),
        (read(Space.CODE, 0, 0, 260), Status.BAD_LENGTH),
        (read(Space.CODE, 0, 0xFFFFFFFF, 2), Status.BAD_ADDRESS),
        (write(Space.TABLE, 0, 0, b"abc"), Status.BAD_LENGTH),
        (write(Space.RESULT, 0, 0, b"abcd"), Status.BAD_ADDRESS),
        (write(Space.ACTIVATION, 0xFF, 0, b"abcd"), Status.BAD_LENGTH),
        (write(Space.TABLE, 0xFE, 0, b"abcd"), Status.BAD_ADDRESS),
    ],
)
def test_what_is_wrong_with_a_request_is_said(body: bytes, status: Status) -> None:
    assert ask(GoldenDevice(TINY), body) == bytes([9, status])


@pytest.mark.parametrize("space", [s for s in Space if s not in (Space.RESULT, Space.COUNTER)])
def test_a_space_holds_what_is_written_up_to_its_last_word(space: Space) -> None:
    device = GoldenDevice(THREE)
    size, last = SPACE_BYTES[space], space_words(THREE)[space] - 1
    data = bytes(range(1, size + 1))
    assert ask(device, write(space, 0xFF, last, data)) == bytes([9, Status.OK])
    assert ask(device, write(space, 1, last, data[::-1])) == bytes([9, Status.OK])
    for cluster, held in enumerate((data, data[::-1], data)):
        assert ask(device, read(space, cluster, last, 1)) == bytes([9, Status.OK]) + held
    assert ask(device, write(space, 0xFF, last, 2 * data)) == bytes([9, Status.BAD_ADDRESS])
    assert ask(device, read(space, 3, last, 1)) == bytes([9, Status.BAD_ADDRESS])
    assert ask(device, write(space, 3, last, data)) == bytes([9, Status.BAD_ADDRESS])


@pytest.mark.parametrize("space", [Space.RESULT, Space.COUNTER])
def test_results_and_counters_are_of_the_device(space: Space) -> None:
    device = GoldenDevice(THREE)
    device.machine.results[2:4] = device.machine.counters[2:4] = (7, 9)
    for cluster in range(3):
        answer = ask(device, read(space, cluster, 2, 2))
        assert answer == bytes([9, Status.OK]) + struct.pack("<II", 7, 9)
    assert ask(device, read(space, 3, 2, 2)) == bytes([9, Status.BAD_ADDRESS])


def test_a_run_answers_with_cycles_and_results() -> None:
    """A descriptor of no passes in every cluster: a layer that takes its frame and no more."""
    device = GoldenDevice(THREE)
    frame = LOAD(THREE) + SETTLE(THREE)
    answer = ask(device, struct.pack("<BBHH", 9, Op.RUN, 40, 2))
    assert answer == bytes([9, Status.OK]) + struct.pack("<IH", 2 * frame, 0)
    words = bytes([9, Status.OK]) + struct.pack("<II", frame, frame)
    assert ask(device, read(Space.COUNTER, 0, LAYER_COUNTERS, 2)) == words


def test_a_damaged_request_is_answered_with_its_number() -> None:
    line = bytearray(encode(bytes([9, Op.IDENTIFY])))
    line[-2] ^= 1
    answers = PacketParser(100).feed(GoldenDevice(TINY).feed(bytes(line)))
    assert answers == [bytes([9, Status.BAD_CRC])]


def test_a_program_that_no_compiler_makes_ends_in_an_answer() -> None:
    device = GoldenDevice(TINY)
    ask(device, write(Space.CODE, 0, 0, b"\xff" * 64))
    answer = ask(device, struct.pack("<BBHH", 9, Op.RUN, 0, 1))
    assert answer == bytes([9, Status.ABORTED])
