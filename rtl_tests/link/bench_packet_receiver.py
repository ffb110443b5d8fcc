"""PacketReceiver: only packets with the right CRC-32 come through."""

from __future__ import annotations

import zlib

import cocotb

from rtl_tests.link.packets import BAD, DATA, END, packet, random_body
from rtl_tests.streams import Bench, Sink, planted

LIMIT = 300  # the component is built for bodies of that size


def checked(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


class LengthChecker:
    """`length` is that of the body from its first symbol to its END."""

    def __init__(self, dut, sink: Sink) -> None:
        self._dut, self._sink = dut, sink
        self._lengths: list[int] = []

    def drive(self) -> None:
        pass

    def sample(self) -> None:
        # The sink has sampled before, in the same cycle.
        while len(self._lengths) < len(self._sink.received):
            self._lengths.append(int(self._dut.length.value))

    def check(self) -> None:
        begin = 0
        for index, symbol in enumerate(self._sink.received):
            if symbol >> 8 == END:
                assert set(self._lengths[begin : index + 1]) == {index - begin}
            if symbol >> 8 != DATA:
                begin = index + 1


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def good_and_bad(dut, gap: float) -> None:
    bench = Bench(dut, gap)
    source, sink = bench.source("i"), bench.sink("o")
    lengths = LengthChecker(dut, sink)
    bench.parts.append(lengths)
    await bench.reset()
    expected: list[int] = []
    for kind in [bench.rng.choice(KINDS) for _ in range(80)] + ["good"]:
        body = random_body(bench.rng, LIMIT)
        content = checked(body)
        match kind:
            case "good":
                source.send(packet(content))
                expected += packet(body)
                continue
            case "flipped":
                place = bench.rng.randrange(len(content))
                content = bytes(b ^ (i == place) for i, b in enumerate(content))
                source.send(packet(content))
            case "undecodable":
                source.send(packet(content, BAD))
            case "short":
                content = content[: bench.rng.randrange(4)]
                source.send(packet(content))
                if not content:
                    continue
            case "long":
                content = checked(bytes(LIMIT + bench.rng.randrange(1, 600)))
                source.send(packet(content))
            case "nothing":
                content = b""
                source.send(packet(content, BAD))
        expected.append(BAD << 8 | (content[0] if content else 0))
    await bench.until(sink, len(expected), 400_000)
    await bench.settle()
    # The data beside END means nothing.
    received = [END << 8 if symbol >> 8 == END else symbol for symbol in sink.received]
    assert received == planted(expected)
    lengths.check()


KINDS = ("good", "good", "flipped", "undecodable", "short", "long", "nothing")


@cocotb.test()
async def two_cycles_a_byte_in_and_one_out(dut) -> None:
    bench = Bench(dut, gap=0.0)
    source, sink = bench.source("i"), bench.sink("o")
    await bench.reset()
    body = bytes(bench.rng.randrange(256) for _ in range(LIMIT))
    source.send(packet(checked(body)))
    # In, checked, and out again.
    await bench.until(sink, LIMIT + 1, (2 * (LIMIT + 4) + 1) + 2 + (LIMIT + 1))
