"""PacketSender: the CRC-32 is zlib's."""

from __future__ import annotations

import zlib

import cocotb

from rtl_tests.link.packets import packet, random_body
from rtl_tests.streams import Bench, planted


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def packets(dut, gap: float) -> None:
    bench = Bench(dut, gap)
    source, sink = bench.source("i"), bench.sink("o")
    await bench.reset()
    bodies = [random_body(bench.rng, 600) or b"x" for _ in range(30)]
    expected: list[int] = []
    for body in bodies:
        source.send(packet(body))
        expected += packet(body + zlib.crc32(body).to_bytes(4, "little"))
    begin = bench.cycles
    await bench.until(sink, len(expected), 6 * len(expected) + 100)
    if not gap:
        # Two cycles for a byte of a body, one for its checksum's and END.
        assert bench.cycles - begin == len(expected) + sum(map(len, bodies))
    await bench.settle()
    assert sink.received == planted(expected)
