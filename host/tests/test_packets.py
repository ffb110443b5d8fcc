from __future__ import annotations

import zlib

from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from plum_host.packets import END, Damaged, PacketParser, checksum, decode, encode, frame_bytes

LIMIT = 300
bodies = st.binary(max_size=LIMIT) | st.integers(0, LIMIT).map(bytes)


@given(bodies)
def test_a_packet_comes_back(body: bytes) -> None:
    line = encode(body)
    assert line.endswith(END)
    assert END not in line[:-1]
    assert len(line) <= frame_bytes(len(body))
    assert decode(line[:-1]) == body


@given(bodies, st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_byte_is_noticed(body: bytes, place: int, change: int) -> None:
    frame = bytearray(encode(body)[:-1])
    frame[place % len(frame)] ^= change
    assert isinstance(decode(bytes(frame)), Damaged)


@given(st.binary())
def test_any_frame_decodes_to_a_body_or_is_damaged(frame: bytes) -> None:
    body = decode(frame)
    if isinstance(body, bytes):
        assert cobs.decode(frame) == body + zlib.crc32(body).to_bytes(4, "little")


@given(st.lists(bodies | st.just(b""), max_size=5), st.lists(st.integers(1, 50), min_size=1))
def test_packets_may_come_in_pieces(sent: list[bytes], sizes: list[int]) -> None:
    line = b"".join(encode(body) for body in sent)
    parser, received, number = PacketParser(LIMIT), [], 0
    while line:
        size = sizes[number % len(sizes)]
        received += parser.feed(line[:size])
        line, number = line[size:], number + 1
    assert received == sent


@given(st.lists(st.binary(max_size=2 * LIMIT), max_size=8))
def test_after_noise_the_next_packet_is_received_and_memory_is_bounded(noise: list[bytes]) -> None:
    parser = PacketParser(LIMIT)
    for piece in noise:
        parser.feed(piece)
        assert len(parser._frame) <= frame_bytes(LIMIT)
    *_, last = parser.feed(END + encode(b"good"))
    assert last == b"good"


def test_a_packet_without_end_is_damaged_once_and_takes_no_memory() -> None:
    parser = PacketParser(LIMIT)
    for _ in range(1000):
        assert parser.feed(b"x" * 1000) == []
        assert len(parser._frame) <= frame_bytes(LIMIT)
    assert parser.feed(END + encode(b"good")) == [Damaged(b""), b"good"]


@given(bodies, st.binary(min_size=1, max_size=40))
def test_hidden_bytes_are_in_the_checksum_alone(body: bytes, hidden: bytes) -> None:
    found = decode(encode(body, hidden)[:-1])
    assert found == Damaged(body + checksum(body + hidden))
