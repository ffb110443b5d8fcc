"""Uart: both lines against a model of 8N1 with other clocks than ours."""

from __future__ import annotations

from collections.abc import Iterable

import cocotb
from cocotb.triggers import FallingEdge

from rtl_tests.streams import Bench, planted

DIVISOR = 16  # the component begins with it
#: Another rate, with bits that are no whole number of cycles: 12 Mbaud at 100 MHz.
FAST = 1966
FAST_PERIOD = (1 << 14) / FAST


class LineDriver:
    """Sends bytes on `rx` with bits of `period` cycles, which need not be whole."""

    def __init__(self, bench: Bench, period: float) -> None:
        self._line, self._rng, self._period = bench.dut.rx, bench.rng, period
        self._levels: list[tuple[int, float]] = []
        self._time = self._change = 0.0
        self._line.value = 1
        bench.parts.append(self)

    def send(self, data: Iterable[int], *, pauses: bool) -> None:
        for byte in data:
            bits = [0, *(byte >> i & 1 for i in range(8)), 1]
            self._levels += [(bit, self._period) for bit in bits]
            if pauses:
                self.level(1, self._rng.random() * 30)

    def level(self, level: int, cycles: float) -> None:
        self._levels.append((level, cycles))

    @property
    def idle(self) -> bool:
        return not self._levels

    def drive(self) -> None:
        if self._levels and self._time >= self._change:
            level, cycles = self._levels.pop(0)
            self._change += cycles
            self._line.value = level
        if not self._levels and self._time > self._change:
            self._change = self._time
        self._time += 1

    def sample(self) -> None:
        pass


class LineReader:
    """Reads bytes from `tx` in the middle of their bits."""

    def __init__(self, bench: Bench) -> None:
        self._line = bench.dut.tx
        self.period: float = DIVISOR
        self._time = -1
        self._bits: list[int] = []
        self.received: list[int] = []
        bench.parts.append(self)

    def drive(self) -> None:
        pass

    def sample(self) -> None:
        level = int(self._line.value)
        if self._time < 0:
            if not level:
                self._time, self._bits = 0, []
            return
        self._time += 1
        if self._time == int((len(self._bits) + 0.5) * self.period):
            self._bits.append(level)
        if len(self._bits) == 10:
            assert self._bits[0] == 0
            assert self._bits[9] == 1
            self.received.append(sum(bit << i for i, bit in enumerate(self._bits[1:9])))
            self._time = -1


@cocotb.test()
@cocotb.parametrize(period=[DIVISOR * 0.97, DIVISOR, DIVISOR * 1.03], pauses=[False, True])
async def receives(dut, period: float, pauses: bool) -> None:
    bench = Bench(dut, gap=0.5)
    line, sink = LineDriver(bench, period), bench.sink("o")
    await bench.reset()
    await bench.settle()
    data = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, *bench.rng.randbytes(60)]
    line.send(data, pauses=pauses)
    await bench.until(sink, len(data), int(len(data) * (10 * period + 40)))
    await bench.settle(400)
    assert sink.received == planted(data)


async def set_rate(bench: Bench, rate: int) -> None:
    await FallingEdge(bench.dut.clk)
    bench.dut.rate.value = rate
    bench.dut.set_rate.value = 1
    await FallingEdge(bench.dut.clk)
    bench.dut.set_rate.value = 0
    bench.dut.rate.value = bench.rng.randrange(1 << 14)
    await bench.settle(3)


@cocotb.test()
async def takes_another_rate_and_a_break_takes_it_back(dut) -> None:
    bench = Bench(dut, gap=0.0)
    line, sink = LineDriver(bench, FAST_PERIOD), bench.sink("o")
    source, reader = bench.source("i"), LineReader(bench)
    dut.set_rate.value = 0
    await bench.reset()
    await bench.settle()
    await set_rate(bench, 1023)  # slower than at the beginning: not taken
    await set_rate(bench, FAST)
    data = [0x00, 0xFF, 0x55, 0x01, 0x80, *bench.rng.randbytes(40)]
    for pauses in (False, True):
        line.send(data, pauses=pauses)
    reader.period = FAST_PERIOD
    source.send(data)
    await bench.until(sink, 2 * len(data), int(len(data) * (20 * FAST_PERIOD + 40)))
    await bench.settle(int(10 * FAST_PERIOD * len(data)))
    assert sink.received == planted([*data, *data])
    assert reader.received == data
    # A byte with a bad stop bit is no break, a slow 0x00 is one.
    line.level(0, 4 * FAST_PERIOD)
    line.level(1, 4 * FAST_PERIOD)
    line.level(0, 4 * FAST_PERIOD)
    line.level(1, 20 * FAST_PERIOD)
    line.send([0xC3], pauses=True)
    line._period = DIVISOR
    line.send([0x00, 0x5A, 0x00, *data], pauses=False)
    while not line.idle:
        await bench.cycle()
    await bench.settle(400)
    assert sink.received[2 * len(data) :] == [0xC3, 0x5A, 0x00, *data]
    reader.period = DIVISOR
    source.send(data)
    await bench.settle(len(data) * 10 * DIVISOR + 10)
    assert reader.received == [*data, *data]


@cocotb.test()
async def noise_is_survived(dut) -> None:
    bench = Bench(dut, gap=0.0)
    line, sink = LineDriver(bench, DIVISOR), bench.sink("o")
    await bench.reset()
    await bench.settle()
    line.level(0, 3)  # too short for a start bit
    line.level(1, 50)
    line.level(0, 400)  # a break: no byte comes of it
    line.level(1, 50)
    line.send([0x5A], pauses=True)
    # A byte with a wrong stop bit, then the line comes to rest.
    for bit in [0, 1, 0, 1, 0, 1, 0, 1, 0, 0]:
        line.level(bit, DIVISOR)
    line.level(1, 200)
    line.send([0xC3], pauses=True)
    while not line.idle:
        await bench.cycle()
    await bench.settle(400)
    assert sink.received == [0x5A, 0xC3]


@cocotb.test()
async def sends_without_gaps(dut) -> None:
    bench = Bench(dut, gap=0.0)
    source, line = bench.source("i"), LineReader(bench)
    await bench.reset()
    data = list(bench.rng.randbytes(50))
    source.send(data)
    await bench.settle(len(data) * 10 * DIVISOR + 10)
    assert line.received == planted(data)
