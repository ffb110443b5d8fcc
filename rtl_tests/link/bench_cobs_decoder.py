"""CobsDecoder against the `cobs` package; cut frames give what came before the cut, then BAD."""

from __future__ import annotations

import cocotb
from cobs import cobs

from rtl_tests.link.packets import BAD, packet, random_body
from rtl_tests.streams import Bench, planted


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def whole_frames(dut, gap: float) -> None:
    bench = Bench(dut, gap)
    source, sink = bench.source("i"), bench.sink("o")
    await bench.reset()
    bodies = [body for _ in range(30) if (body := random_body(bench.rng, 600))]
    line = b"".join(cobs.encode(body) + b"\0" for body in bodies)
    source.send(line)
    expected = [symbol for body in bodies for symbol in packet(body)]
    await bench.until(sink, len(expected), 6 * len(line) + 100)
    await bench.settle()
    assert sink.received == planted(expected)


@cocotb.test()
async def one_byte_a_cycle(dut) -> None:
    bench = Bench(dut, gap=0.0)
    source, sink = bench.source("i"), bench.sink("o")
    await bench.reset()
    body = bytes(bench.rng.randrange(256) for _ in range(2000))
    line = cobs.encode(body) + b"\0"
    source.send(line)
    await bench.until(sink, len(body) + 1, len(line) + 2)


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def cut_frames(dut, gap: float) -> None:
    bench = Bench(dut, gap)
    source, sink = bench.source("i"), bench.sink("o")
    await bench.reset()
    expected: list[int] = []
    for _ in range(200):
        body = bytes(bench.rng.randrange(256) for _ in range(bench.rng.randrange(1, 40)))
        frame = cobs.encode(body)
        cut = bench.rng.randrange(len(frame) + 1)
        try:
            symbols = packet(cobs.decode(frame[:cut])) if cut else []
        except cobs.DecodeError:
            symbols = [*_decoded_before_cut(frame[:cut]), BAD << 8]
        source.send(frame[:cut] + b"\0\0" + cobs.encode(b"good") + b"\0")
        expected += symbols + packet(b"good")
    await bench.until(sink, len(expected), 100_000)
    await bench.settle()
    assert sink.received == expected


def _decoded_before_cut(frame: bytes) -> bytes:
    """All that a cut frame still tells: it is complete up to its last, unfinished block."""
    for missing in range(255):
        try:
            return cobs.decode(frame + b"\1" * missing)[: -missing or None]
        except cobs.DecodeError:
            continue
    raise AssertionError("a block has at most 254 bytes")
