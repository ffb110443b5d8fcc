"""PacketSender: the CRC-32 is zlib's."""

from __future__ import annotations

import zlib

import cocotb

from rtl_tests.link.packets import END, HIDDEN, packet, random_body
from rtl_tests.streams import Bench, planted


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def packets(dut, gap: float) -> None:
    bench = Bench(dut, gap)
    source, sink = bench.source("i"), bench.sink("o")
    await bench.reset()
    bodies = [random_body(bench.rng, 600) or b"x" for _ in range(30)]
    expected: list[int] = []
    hidden = [bench.rng.randbytes(bench.rng.choice([0, 0, 1, 9])) for _ in bodies]
    for body, more in zip(bodies, hidden, strict=True):
        source.send([*body, *(HIDDEN << 8 | byte for byte in more), END << 8])
        expected += packet(body + zlib.crc32(body + more).to_bytes(4, "little"))
    begin = bench.cycles
    await bench.until(sink, len(expected), 6 * len(expected) + 100)
    if not gap:
        # Two cycles for a byte of a body (a hidden one too), one for its checksum's and END.
        sizes = sum(map(len, bodies)) + 2 * sum(map(len, hidden))
        assert bench.cycles - begin == len(expected) + sizes
    await bench.settle()
    assert sink.received == planted(expected)
