"""CobsEncoder against the `cobs` package."""

from __future__ import annotations

import cocotb
from cobs import cobs

from rtl_tests.link.packets import packet, random_body
from rtl_tests.streams import Bench, planted


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5])
async def packets(dut, gap: float) -> None:
    bench = Bench(dut, gap)
    source, sink = bench.source("i"), bench.sink("o")
    await bench.reset()
    bodies = [random_body(bench.rng, 1100) for _ in range(30)]
    for body in bodies:
        source.send(packet(body))
    line = list(b"\0" + b"".join(cobs.encode(body) + b"\0" for body in bodies))
    await bench.until(sink, len(line), 6 * len(line) + 1000)
    await bench.settle()
    assert sink.received == planted(line)


@cocotb.test()
@cocotb.parametrize(zeros=[0.0, 0.1, 1.0])
async def one_byte_a_cycle(dut, zeros: float) -> None:
    bench = Bench(dut, gap=0.0)
    source, sink = bench.source("i"), bench.sink("o")
    await bench.reset()
    body = bytes(0 if bench.rng.random() < zeros else 7 for _ in range(3000))
    source.send(packet(body) * 2)
    line = b"\0" + (cobs.encode(body) + b"\0") * 2
    # The first block must be complete before its length can be sent.
    await bench.until(sink, len(line), len(line) + 254 + 10)
    assert bytes(sink.received) == line
