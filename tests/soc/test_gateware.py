"""The controller's parts by themselves, driven over the bus with the generated accessors."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.sim import Simulator

from plum_host import registers as accessors
from plum_hw.gateware.soc.accelerator_port import AcceleratorPort
from plum_hw.gateware.soc.bus import Interconnect, tag_of
from plum_hw.gateware.soc.flash_reader import FAST_READ, FlashReader
from plum_hw.gateware.soc.memories import Ram
from plum_hw.gateware.soc.peripherals import Checksum, SerialPort, Timer
from plum_hw.layouts import Space, identity, layer_layout
from plum_hw.presets import preset
from plum_hw.registers import ID, memory_offset

TINY = preset("tiny")
SEED = 20


class BusDriver:
    """Accesses to a bus port, as the processor makes them, with gaps between.

    `read` and `write` are generators to `await`; `ops` collects what accessors do, to be replayed.
    """

    def __init__(self, ctx: Any, bus: Any, random_: random.Random) -> None:
        self.ctx, self.bus, self.random = ctx, bus, random_
        self.cycles = 0
        self.gaps = 3

    async def access(self, address: int, data: int = 0, strobes: int = 0) -> int:
        ctx, bus = self.ctx, self.bus
        for _ in range(self.random.randrange(self.gaps) if self.gaps else 0):
            await ctx.tick()
        ctx.set(bus.address, address)
        ctx.set(bus.data, data)
        ctx.set(bus.strobes, strobes)
        ctx.set(bus.valid, 1)
        for waited in range(2000):
            _, _, ready, value = await ctx.tick().sample(bus.ready, bus.read)
            assert ready or value == 0, "data without ready"
            if ready:
                assert waited >= 1, "answered in the first cycle"
                ctx.set(bus.valid, 0)
                # Not longer than one cycle.
                _, _, ready, after = await ctx.tick().sample(bus.ready, bus.read)
                assert not ready
                assert after == 0
                self.cycles = waited
                return value
        raise AssertionError(f"no answer at {address:#x}")

    async def read(self, address: int) -> int:
        return await self.access(address)

    async def write(self, address: int, value: int) -> None:
        await self.access(address, value, 0xF)


def simulate(component: Any, bench: Callable[[Any], Any], *others: Callable[[Any], Any]) -> None:
    m = Module()
    m.submodules.dut = component
    simulator = Simulator(m)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    for other in others:

        async def process(ctx: Any, other: Callable[[Any], Any] = other) -> None:
            await other(ctx)

        simulator.add_testbench(process, background=True)
    simulator.run()


class Places:
    """Collects the addresses that an accessor uses: its registers by name."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __getattr__(self, name: str) -> int:
        found: list[int] = []

        class Bus:
            def read(self, address: int) -> int:
                found.append(address)
                return 0

            def write(self, address: int, value: int) -> None:
                found.append(address)

        device = getattr(accessors, self._kind)(Bus(), 0)
        if hasattr(type(device), f"set_{name}"):
            getattr(device, f"set_{name}")(0)
        else:
            getattr(device, name)
        return found[-1]


# --- flash


class FlashModel:
    """An SPI flash, mode 0, that knows 0x0B and 0x9F; it counts commands."""

    def __init__(self, content: bytes, *, fault: bool = False) -> None:
        self.content = content
        self.commands: list[int] = []
        self.fault = fault

    async def run(self, ctx: Any, pins: Any) -> None:
        clk = cs_n = 1
        bits: list[int] = []
        out: list[int] = []
        async for _, _, new_cs_n, new_clk, copi in ctx.tick().sample(
            pins.cs_n, pins.clk, pins.copi
        ):
            if new_cs_n:
                bits, out = [], []
            elif new_clk and not clk:
                bits.append(copi)
                self._take(bits, out)
            elif clk and not new_clk and not cs_n:
                ctx.set(pins.cipo, out.pop(0) if out else 1)
            clk, cs_n = new_clk, new_cs_n

    def _take(self, bits: list[int], out: list[int]) -> None:
        if len(bits) == 8:
            self.commands.append(int("".join(map(str, bits)), 2))
            if self.commands[-1] == 0x9F:
                out += [int(bit) for bit in f"{0xC22018:024b}"]
        dummy = 0 if self.fault else 8
        if self.commands and self.commands[-1] == FAST_READ and len(bits) >= 32 + dummy:
            extra = len(bits) - 32 - dummy
            if extra % 8 == 0:
                first = int("".join(map(str, bits[8:32])), 2)
                byte = self.content[(first + extra // 8) % len(self.content)]
                out += [int(bit) for bit in f"{byte:08b}"]


def run_flash(bench: Callable[..., Any], *, half_period: int = 1, fault: bool = False) -> None:
    content = random.Random(SEED).randbytes(1 << 12)
    dut = FlashReader(100_000_000, half_period)
    model = FlashModel(content, fault=fault)

    async def wrapped(ctx: Any) -> None:
        await bench(ctx, dut, model, content)

    simulate(dut, wrapped, lambda ctx: model.run(ctx, dut.pins))


async def read_at_random(ctx: Any, dut: Any, model: FlashModel, content: bytes) -> None:
    random_ = random.Random(SEED)
    bus = BusDriver(ctx, dut.window, random_)
    address = 0
    for _ in range(120):
        if random_.random() < 0.3:
            address = random_.randrange(0, len(content), 4)
        expected = int.from_bytes(content[address : address + 4], "little")
        assert await bus.read(address + random_.randrange(4)) == expected
        if random_.random() < 0.8:
            address = (address + 4) % len(content)
        for _ in range(random_.choice((0, 0, 5, 100))):
            await ctx.tick()


@pytest.mark.parametrize("half_period", [1, 3])
def test_flash_reads_what_is_there(half_period):
    run_flash(read_at_random, half_period=half_period)


def test_flash_test_finds_a_planted_fault():
    """A flash without the byte of waiting: all data come too early."""
    with pytest.raises(AssertionError):
        run_flash(read_at_random, fault=True)


def test_words_in_a_row_take_64_half_periods_and_one_command():
    async def bench(ctx, dut, model, content):
        bus = BusDriver(ctx, dut.window, random.Random(SEED))
        bus.gaps = 0
        for address in range(0, 64, 4):
            await bus.read(address)
            if address:
                assert bus.cycles <= 64
        assert model.commands == [FAST_READ]
        # The same word again, and its bytes, come at once; a slow reader finds the next one ready.
        await bus.read(60)
        assert bus.cycles == 1
        await ctx.tick().repeat(100)
        await bus.read(64)
        assert bus.cycles == 1

    run_flash(bench)


def test_flash_byte_by_byte():
    spi = Places("Spi")

    async def bench(ctx, dut, model, content):
        window = BusDriver(ctx, dut.window, random.Random(SEED))
        bus = BusDriver(ctx, dut.bus, random.Random(SEED))

        async def byte(value):
            await bus.write(spi.data, value)
            while await bus.read(spi.status):
                pass
            return await bus.read(spi.data)

        for _ in range(2):
            assert await window.read(4) == int.from_bytes(content[4:8], "little")
            await bus.write(spi.control, 1)
            # While software has the flash, the window reads as 0.
            assert await window.read(4) == 0
            await byte(0x9F)
            assert [await byte(0) for _ in range(3)] == [0xC2, 0x20, 0x18]
            await bus.write(spi.control, 0)
        assert await window.read(8) == int.from_bytes(content[8:12], "little")

    run_flash(bench)


# --- peripherals


def test_checksum_is_that_of_zlib():
    places = Places("Checksum")

    async def bench(ctx):
        random_ = random.Random(SEED)
        bus = BusDriver(ctx, dut.bus, random_)
        for count in (0, 1, 5):
            data = random_.randbytes(4 * count)
            await bus.write(places.restart, 1)
            for i in range(0, len(data), 4):
                await bus.write(places.data, int.from_bytes(data[i : i + 4], "little"))
                await ctx.tick().repeat(3)
            assert await bus.read(places.value) == zlib.crc32(data)

    dut = Checksum()
    simulate(dut, bench)


def test_timer_counts_and_rings():
    places = Places("Timer")

    async def bench(ctx):
        bus = BusDriver(ctx, dut.bus, random.Random(SEED))
        bus.gaps = 0
        first = await bus.read(places.low)
        await ctx.tick().repeat(50)
        second = await bus.read(places.low)
        assert second - first == 53  # an access takes three cycles of this bench
        assert await bus.read(places.high) == 0
        await bus.write(places.alarm, 20)
        for _ in range(17):
            assert not ctx.get(dut.rings)
            await ctx.tick()
        await ctx.tick().repeat(4)
        assert ctx.get(dut.rings)
        assert await bus.read(places.status) == 1
        await bus.write(places.alarm, 0)
        assert not ctx.get(dut.rings)
        await ctx.tick().repeat(100)
        assert not ctx.get(dut.rings)

    dut = Timer()
    simulate(dut, bench)


def test_serial_port_keeps_order_and_tells_what_was_lost():
    places = Places("Serial")

    class Loop(wiring.Component):
        """The line's own end."""

        def __init__(self):
            self.port = SerialPort(divisor=8, queue=4)
            super().__init__({})

        def elaborate(self, platform):
            m = Module()
            m.submodules.port = self.port
            m.d.comb += self.port.rx.eq(self.port.tx)
            return m

    async def bench(ctx):
        bus = BusDriver(ctx, dut.port.bus, random.Random(SEED))
        for value in (0x00, 0xFF, 0xA5):
            assert await bus.read(places.status) & 2
            await bus.write(places.data, value)
        for value in (0x00, 0xFF, 0xA5):
            while not await bus.read(places.status) & 1:
                pass
            assert ctx.get(dut.port.received)
            assert await bus.read(places.data) == value
        assert not ctx.get(dut.port.received)
        for value in range(7):
            while not await bus.read(places.status) & 2:
                pass
            await bus.write(places.data, value)
        while not await bus.read(places.status) & 8:
            pass
        await ctx.tick().repeat(100)
        assert await bus.read(places.status) & 4
        assert [await bus.read(places.data) for _ in range(4)] == [0, 1, 2, 3]
        await bus.write(places.status, 4)
        assert not await bus.read(places.status) & 5

    dut = Loop()
    simulate(dut, bench)


def test_ram_writes_single_bytes():
    async def bench(ctx):
        random_ = random.Random(SEED)
        bus = BusDriver(ctx, dut.bus, random_)
        model = [0] * 16
        for _ in range(200):
            place = random_.randrange(16)
            if random_.random() < 0.5:
                data, strobes = random_.getrandbits(32), random_.randrange(1, 16)
                await bus.access(4 * place, data, strobes)
                mask = sum(0xFF << 8 * i for i in range(4) if strobes >> i & 1)
                model[place] = model[place] & ~mask | data & mask
            else:
                assert await bus.read(4 * place) == model[place]

    dut = Ram(64)
    simulate(dut, bench)


def test_access_to_nothing_is_answered_with_zero_and_told():
    async def bench(ctx):
        bus = BusDriver(ctx, dut.bus, random.Random(SEED))
        assert await bus.read(0x40) == 0
        await bus.write(0x80, 5)
        assert ctx.get(seen) == 2

    dut = Interconnect([(0x0, 0x40), (0x100, 0x100)])
    m = Module()
    seen = Signal(8)
    m.submodules.dut = dut
    with m.If(dut.unmapped):
        m.d.sync += seen.eq(seen + 1)
    simulate(m, bench)


def test_ranges_that_cannot_be_decoded():
    for base, size in ((0x10, 0x20), (0, 0x30)):
        with pytest.raises(ValueError, match="cannot be decoded"):
            tag_of(base, size)


# --- accelerator


class Host:
    """The array's side of the host port: memories with random pauses, and runs of 30 cycles."""

    def __init__(self) -> None:
        self.words: dict[tuple[int, int], int] = {}
        self.targets: list[int] = []
        self.random = random.Random(SEED)

    async def serve(self, ctx: Any, port: Any) -> None:
        request, response = port.host.request, port.host.response
        while True:
            await ctx.tick().repeat(self.random.randrange(1, 4))
            ctx.set(request.ready, 1)
            while True:
                _, _, valid, asked, targets = await ctx.tick().sample(
                    request.valid, request.payload, port.targets
                )
                if valid:
                    break
            ctx.set(request.ready, 0)
            assert not ctx.get(port.busy) or asked.space == Space.IDENTITY
            place = (asked.space, asked.address)
            if asked.write:
                self.words[place] = asked.data
                self.targets.append(targets)
                continue
            await ctx.tick().repeat(self.random.randrange(1, 9))
            ctx.set(response.payload, self.words.get(place, 0))
            ctx.set(response.valid, 1)
            while True:
                _, _, ready = await ctx.tick().sample(response.ready)
                if ready:
                    break
            ctx.set(response.valid, 0)

    async def run(self, ctx: Any, port: Any) -> None:
        while True:
            _, _, start = await ctx.tick().sample(port.start)
            if not start:
                continue
            ctx.set(port.busy, 1)
            for _ in range(30):
                _, _, abort, start = await ctx.tick().sample(port.abort, port.start)
                assert not start, "started during a run"
                if abort:
                    break
            ctx.set(port.busy, 0)


def run_port(bench: Callable[..., Any]) -> None:
    dut = AcceleratorPort(TINY)
    host = Host()

    async def wrapped(ctx: Any) -> None:
        await bench(ctx, dut, host, BusDriver(ctx, dut.bus, random.Random(SEED)))

    simulate(dut, wrapped, lambda ctx: host.serve(ctx, dut), lambda ctx: host.run(ctx, dut))


PLACES = Places("Accelerator")
BUSY, DONE, ERROR, DENIED = 1, 2, 4, 8


def test_accelerator_says_what_it_is():
    async def bench(ctx, dut, host, bus):
        assert await bus.read(PLACES.id) == ID
        assert await bus.read(PLACES.version) == 1 | TINY.clusters << 8
        assert await bus.read(PLACES.code_words) == TINY.code_depth
        assert await bus.read(PLACES.activation_words) == TINY.act_depth * TINY.groups
        assert await bus.read(PLACES.layer_words) == layer_layout(TINY).words
        known = identity(TINY)
        for i in range(8):
            host.words[Space.IDENTITY, i] = int.from_bytes(known[8 * i : 8 * i + 8], "little")
        base = memory_offset(Space.IDENTITY)
        words = [await bus.read(base + 4 * i) for i in range(16)]
        assert b"".join(word.to_bytes(4, "little") for word in words) == known

    run_port(bench)


def test_accelerator_memories():
    """Every word arrives where it belongs, whatever the pauses; activations in two halves."""

    async def bench(ctx, dut, host, bus):
        random_ = random.Random(SEED)
        model: dict[tuple[int, int], int] = {}
        await bus.write(PLACES.targets, 1)
        for _ in range(150):
            space = random_.choice((Space.CODE, Space.TABLE, Space.ACTIVATION))
            word = random_.choice((0, 1, 7, 0xFFFF))
            wide = space == Space.ACTIVATION
            place = memory_offset(space) + (8 if wide else 4) * word
            if random_.random() < 0.5:
                value = random_.getrandbits(64 if wide else 32)
                await bus.write(place, value & 0xFFFF_FFFF)
                if wide:
                    await bus.write(place + 4, value >> 32)
                model[space, word] = value
                assert host.words[space, word] == value
            else:
                value = await bus.read(place)
                if wide:
                    value |= await bus.read(place + 4) << 32
                assert value == model.get((space, word), 0)
        assert set(host.targets) == {1}
        assert await bus.read(PLACES.status) == 0

    run_port(bench)


def test_accelerator_runs_and_refuses():
    async def bench(ctx, dut, host, bus):
        async def status():
            return await bus.read(PLACES.status)

        await bus.write(PLACES.interrupt, 1)
        await bus.write(PLACES.program, 0x123)
        # No layer: refused.
        await bus.write(PLACES.control, 1)
        assert await status() == DENIED
        await bus.write(PLACES.status, DENIED)
        await bus.write(PLACES.layers, 3)
        await bus.write(PLACES.control, 1)
        assert await status() == BUSY
        assert (ctx.get(dut.program), ctx.get(dut.layers)) == (0x123, 3)
        # During a run neither a memory nor another run can be had, but the identity can.
        await bus.write(memory_offset(Space.CODE), 5)
        assert await status() == BUSY | DENIED
        assert (Space.CODE, 0) not in host.words
        await bus.write(PLACES.status, DENIED)
        await bus.write(PLACES.control, 1)
        assert await status() & DENIED
        while await status() & BUSY:
            assert not ctx.get(dut.interrupt)
        assert await status() == DONE | DENIED
        assert ctx.get(dut.interrupt)
        await bus.write(PLACES.status, DONE | DENIED)
        assert await status() == 0
        assert not ctx.get(dut.interrupt)
        # Aborted.
        await bus.write(PLACES.control, 1)
        await bus.write(PLACES.control, 2)
        await ctx.tick().repeat(4)
        assert await status() == DONE
        # START ends the sign of the run before.
        await bus.write(PLACES.control, 1)
        assert await status() == BUSY

    run_port(bench)
