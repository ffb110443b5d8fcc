"""A cluster: memories, lanes, and what drives them."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory, MemoryData, ReadPort
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.activation_memory import NEVER_AT_ONCE, ONE_PORT, ActivationMemory
from plum_hw.gateware.cluster.decoder import Decoder
from plum_hw.gateware.cluster.drain import Drain
from plum_hw.gateware.cluster.emitter import Emitter
from plum_hw.gateware.cluster.fetcher import Fetcher
from plum_hw.gateware.cluster.jobs import bus_layout, mask_layout
from plum_hw.gateware.cluster.lanes import Lanes
from plum_hw.gateware.cluster.mux_tree import mux_tree
from plum_hw.gateware.cluster.sequencer import Sequencer
from plum_hw.gateware.cluster.serial_drain import SerialDrain
from plum_hw.gateware.cluster.walker import Walker
from plum_hw.gateware.conductor import Control
from plum_hw.gateware.link.host_port import MemoryPort
from plum_hw.gateware.link.stream_register import SpareRegister
from plum_hw.gateware.records import Events
from plum_hw.layouts import WORD_BITS, Space
from plum_hw.timing import BEAT_TO_DRAIN, EMIT_LATENCY


class Cluster(wiring.Component):
    """Lanes with memories of their own, which run the conductor's layers; see docs/architecture.md.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    number, phase : constants, of this cluster and of its slots (see `Emitter`); inputs, so that all
        clusters are the same module
    control : of the conductor; where it is not busy everything stops at once
    memory : code and table memory, and the activations to read; its `address` is the conductor's
        during a run
    sends : what this cluster puts on each write bus; zeros in other clusters' time
    buses : what all clusters see on the write buses
    quiet : nothing is on its way
    events : for the counters
    overrun : strobe: an emission met another, so the program is wrong
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        self.code_data = MemoryData(shape=unsigned(WORD_BITS), depth=config.code_depth, init=[])
        self._control = Signal(Control)
        self._memory = MemoryPort.create(path=("memory",))
        self._buses = [
            Signal(bus_layout(config), name=f"bus_{number}") for number in range(config.write_buses)
        ]
        self.head_data = MemoryData(shape=unsigned(WORD_BITS), depth=config.program_depth, init=[])
        self.table_data = MemoryData(shape=unsigned(WORD_BITS), depth=config.table_depth, init=[])
        super().__init__(
            {
                "number": In(config.cluster_bits),
                "phase": In(config.cluster_bits),
                "control": In(Control),
                "memory": In(MemoryPort),
                "sends": Out(bus_layout(config)).array(config.write_buses),
                "buses": In(bus_layout(config)).array(config.write_buses),
                "quiet": Out(1),
                "events": Out(Events),
                "overrun": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        # What comes from outside has had a long way.
        control, memory = self._control, self._memory
        arrive = m.d["comb" if config.slow_clock else "sync"]
        arrive += control.eq(self.control)
        for path, _, value in memory.signature.flatten(memory):
            if path != ("read",):
                arrive += value.eq(getattr(self.memory, path[0]))
        for here, bus in zip(self._buses, self.buses, strict=True):
            arrive += here.eq(bus)
        sequencer = Sequencer(config)
        walker = Walker(config)
        fetcher = Fetcher(config)
        decoder = Decoder(config)
        lanes = Lanes(config)
        drain = Drain(config) if config.drain_lanes > 1 else SerialDrain(config)
        emitter = Emitter(config)
        # The lanes and the drain also serve the host, while all others give zeros: by a register of
        # its own, for much hangs on it.
        idle = Signal(init=1)
        arrive += idle.eq(~self.control.busy)
        for name, block in (
            ("walker", walker),
            ("fetcher", fetcher),
            ("decoder", decoder),
            ("emitter", emitter),
        ):
            m.submodules[name] = ResetInserter(idle)(block)
        m.submodules.sequencer = sequencer
        m.submodules.lanes = lanes
        m.submodules.drain = drain
        m.submodules.activation = activation = ActivationMemory(config)
        layer = sequencer.layer

        # From code memory to the lanes.
        masks, descriptors, code = self._code(m, walker, fetcher)
        # With slow wires block RAM gives its words to registers and to nothing else.
        segments, code_word = Signal(WORD_BITS), Signal(WORD_BITS)
        m.d["sync" if config.slow_wires else "comb"] += segments.eq(descriptors)
        m.d["sync" if config.slow_wires else "comb"] += code_word.eq(code)
        m.d.comb += [
            sequencer.load.eq(control.load),
            sequencer.word.eq(descriptors),
            sequencer.start.eq(control.start),
            walker.layer.eq(layer),
            walker.clear.eq(control.clear),
            walker.start.eq(sequencer.layer_start),
            walker.word.eq(segments),
            fetcher.weight_ptr.eq(layer.weight_ptr),
            fetcher.word.eq(masks),
            decoder.window.eq(layer.window_segments != 0),
            decoder.residual.eq(layer.residual),
            lanes.vector.eq(activation.vector),
        ]
        wiring.connect(m, walker.o, fetcher.i)
        if config.slow_wires:
            # Whether words move would be known late: the decoder decides it.
            m.submodules.spare = spare = ResetInserter(idle)(SpareRegister(mask_layout(config)))
            wiring.connect(m, fetcher.o, spare.i)
            wiring.connect(m, spare.o, decoder.i)
        else:
            wiring.connect(m, fetcher.o, decoder.i)

        # From the lanes to the write buses.
        table = self._table(m, emitter)
        # With a slow clock the emitter has this register, so that it may keep an entry there.
        table_word = Signal(WORD_BITS)
        m.d["comb" if config.slow_clock else "sync"] += table_word.eq(table.data)
        m.d.comb += [
            drain.snapshot.eq(lanes.snapshot),
            drain.start.eq(lanes.drain),
            drain.job.eq(lanes.drain_job),
            drain.left_edge.eq(layer.left_edge),
            emitter.phase.eq(self.phase),
            emitter.layer.eq(layer),
            emitter.layer_start.eq(control.start),
            emitter.table.data.eq(table_word),
            decoder.finished.eq(emitter.finished),
            decoder.finished_bank.eq(emitter.finished_bank),
        ]
        self._start_emissions(m, lanes, emitter)
        m.d.comb += [decoder.idle.eq(idle), emitter.idle.eq(idle)]
        self._activations(m, activation, decoder, layer.group)
        self._sums(m, decoder, lanes, drain, emitter)
        for bus, sent in zip(emitter.bus, self.sends, strict=True):
            m.d.comb += sent.eq(bus)

        # What the host reads, a byte at a time: one of each memory, of which one is meant.
        memories = [(code_word, 8), (table_word, 8), (drain.port.sums.as_value(), config.sum_bits)]
        bytes_: list[Value] = []
        for value, size in memories:
            choices = [value[low : low + 8] for low in range(0, len(value), size)]
            byte = Signal(8, name=f"byte_{len(bytes_)}")
            # Sums of one lane a word are in a register already.
            m.d["sync" if len(choices) > 1 else "comb"] += byte.eq(
                mux_tree(memory.part[: (len(choices) - 1).bit_length()], choices)
            )
            bytes_.append(byte)
        bytes_[-1] = bytes_[-1][: config.act_bits]
        select = Cat(memory.space == Space.TABLE, memory.space == Space.ACTIVATION)
        m.d.sync += self.memory.read.eq(mux_tree(select, bytes_))

        m.d.sync += self.quiet.eq(walker.quiet & fetcher.quiet & decoder.quiet)
        m.d.comb += [
            self.events.beat.eq(decoder.beat_count),
            self.events.drain_stall.eq(decoder.drain_stalls),
            self.events.emit_stall.eq(decoder.emit_stalls),
            self.overrun.eq(decoder.overrun),
        ]
        return m

    def _start_emissions(self, m: Module, lanes: Lanes, emitter: Emitter) -> None:
        """Give an emission as early as its first step finds the sums of the filter's last drain.

        There is at most one on the way, for emissions are no closer than drains.
        """
        delay = EMIT_LATENCY(self._config) - BEAT_TO_DRAIN(self._config) - emitter.QUEUE_LATENCY
        start, job = lanes.emit, lanes.emit_job
        if delay:
            held, wait = Signal.like(job), Signal(delay)
            m.d.sync += wait.eq(Cat(start, wait))
            with m.If(start):
                m.d.sync += held.eq(job)
            start, job = wait[-1] & self._control.busy, held
        m.d.comb += [emitter.start.eq(start), emitter.job.eq(job)]

    def _code(self, m: Module, walker: Walker, fetcher: Fetcher) -> tuple[Value, Value, Value]:
        """Code memory: the word that the fetcher asked for, the one that the walker or the
        conductor did, and the host's.

        Its one writer, the host, has the address of a reader, so that both fit a block RAM.
        """
        if self._config.one_port_code:
            return self._two_codes(m, walker, fetcher)
        m.submodules.code = memory = Memory(self.code_data, attrs=NEVER_AT_ONCE)
        write = memory.write_port()
        read = memory.read_port(transparent_for=())
        host = self._memory
        address = Mux(walker.asks, walker.address, host.address)
        enable = ~walker.asks | walker.enable if self._config.slow_clock else None
        m.d.comb += [
            write.data.eq(host.data),
            write.en.eq(host.write_code),
            read.en.eq(fetcher.enable),
        ]
        if not self._config.head_depth:
            other = memory.read_port(transparent_for=())
            m.d.comb += [
                read.addr.eq(fetcher.address),
                other.addr.eq(address),
                write.addr.eq(other.addr),
            ]
            if enable is not None:
                m.d.comb += other.en.eq(enable)
            return read.data, other.data, other.data
        # The fetcher enables the port when nothing runs, too.
        m.d.comb += [
            read.addr.eq(Mux(self._control.busy, fetcher.address, host.address)),
            write.addr.eq(host.address),
        ]
        m.submodules.heads = heads = Memory(self.head_data)
        copy, head, word = heads.write_port(), heads.read_port(domain="comb"), Signal(WORD_BITS)
        m.d.comb += [
            copy.addr.eq(host.address),
            copy.data.eq(host.data),
            copy.en.eq(host.write_code & ~host.address[len(copy.addr) : len(write.addr)].any()),
            head.addr.eq(address),
        ]
        if enable is None:
            m.d.sync += word.eq(head.data)
        else:
            with m.If(enable):
                m.d.sync += word.eq(head.data)
        return read.data, word, read.data

    def _two_codes(self, m: Module, walker: Walker, fetcher: Fetcher) -> tuple[Value, Value, Value]:
        """As `_code`, of one memory for each reader; that of the fetcher has no more bits of a word
        than it takes.
        """
        config, host = self._config, self._memory
        m.submodules.code = memory = Memory(self.code_data, attrs=ONE_PORT)
        m.submodules.masks = masks = Memory(
            shape=unsigned(max(config.mask_bits, config.act_addr_bits)),
            depth=config.code_depth,
            init=[],
            attrs=ONE_PORT,
        )
        keeps = ~walker.asks | walker.enable if config.slow_clock else Const(1)
        words = []
        for each, running, address, enable in (
            (masks, self._control.busy, fetcher.address, fetcher.enable),
            (memory, walker.asks, walker.address, keeps),
        ):
            read, write = each.read_port(transparent_for=()), each.write_port()
            m.d.comb += [
                read.addr.eq(Mux(running, address, host.address)),
                read.en.eq(enable),
                write.addr.eq(read.addr),
                write.data.eq(host.data),
                write.en.eq(host.write_code),
            ]
            words.append(read.data)
        return words[0], words[1], words[1]

    def _table(self, m: Module, emitter: Emitter) -> ReadPort:
        """Table memory, the emitter's to read during a run."""
        m.submodules.table = memory = Memory(self.table_data, attrs=NEVER_AT_ONCE)
        write = memory.write_port()
        read = memory.read_port(transparent_for=())
        m.d.comb += [
            read.addr.eq(Mux(self._control.busy, emitter.table.address, self._memory.address)),
            write.addr.eq(read.addr),
            write.data.eq(self._memory.data),
            write.en.eq(self._memory.write_table),
        ]
        return read

    def _activations(
        self, m: Module, activation: ActivationMemory, decoder: Decoder, group: Signal
    ) -> None:
        """Activation memory takes what is addressed to this cluster or to its group."""
        skip = (self._config.groups - 1).bit_length()
        m.d.comb += [
            decoder.other.eq(self._memory.address >> skip),
            activation.address.eq(decoder.address),
        ]
        hits = []
        for bus, port in zip(self._buses, activation.buses, strict=True):
            wanted = Mux(bus.grouped, group, self.number)
            hits.append(~bus.result & (bus.dest == wanted))
            m.d.comb += port.eq(bus)
        m.d.comb += activation.hit.eq(Cat(hits))

    def _sums(
        self, m: Module, decoder: Decoder, lanes: Lanes, drain: Any, emitter: Emitter
    ) -> None:
        """The sums are the emitter's to read during a run; a vector that the host asks for is
        drained into them as if it were a filter's.
        """
        port, groups = emitter.sum_port, (self._config.groups - 1).bit_length()
        fetch = Signal()
        m.d["sync" if decoder.ADDRESS_LATENCY else "comb"] += fetch.eq(self._memory.fetch)
        m.d.comb += [
            lanes.beat.eq(decoder.beat),
            lanes.beat.valid.eq(decoder.beat.valid | fetch),
            lanes.beat.drain.eq(decoder.beat.drain | fetch),
            drain.port.bank.eq(port.bank),
            emitter.other.eq(self._memory.address[:groups]),
            drain.port.group.eq(port.group),
            port.sums.eq(drain.port.sums),
        ]
        if self._config.drain_lanes == 1:
            lane = Mux(self._control.busy, port.lane, self._memory.part)
            m.d.comb += drain.port.lane.eq(lane)
