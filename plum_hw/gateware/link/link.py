"""The link's end in the device."""

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.config import ArrayConfig
from plum_hw.gateware.link.cobs_decoder import CobsDecoder
from plum_hw.gateware.link.cobs_encoder import CobsEncoder
from plum_hw.gateware.link.executor import CommandExecutor
from plum_hw.gateware.link.host_port import HostPort
from plum_hw.gateware.link.packet_sender import PacketSender
from plum_hw.gateware.link.request_queue import RequestQueue
from plum_hw.gateware.link.stream_register import LongRegister, SpareRegister, StreamRegister
from plum_hw.gateware.link.symbols import Symbol


class Link(wiring.Component):
    """Requests come as bytes, answers leave as bytes, and between them the clusters are served.

    Whatever arrives, the next good packet is answered: nothing before the queue ever waits, and a
    RESET frees all that is behind it. Two cycles a byte each way.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    rx, tx : bytes of the line
    host, targets, start, program, layers, results_at, busy, finish, idle : as `CommandExecutor`
    abort : strobe, a session begins: what runs is stopped
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "tx": Out(stream.Signature(8)),
                "host": Out(HostPort),
                "targets": Out(config.clusters),
                "start": Out(1),
                "program": Out(16),
                "layers": Out(16),
                "results_at": Out(16),
                "abort": Out(1),
                "busy": In(1),
                "finish": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.queue = queue = RequestQueue(self._config.queue_bytes)
        reset = ResetInserter(queue.reset)
        executor, sender, encoder = CommandExecutor(self._config), PacketSender(), CobsEncoder()
        m.submodules.executor = reset(executor)
        m.submodules.sender = reset(sender)
        m.submodules.encoder = reset(encoder)

        connect(m, flipped(self.rx), decoder.i)
        connect(m, decoder.o, queue.i)
        # Logic would be deep from one block to the next, and with slow wires `ready` comes late.
        slow_wires, slow_clock = self._config.slow_wires, self._config.slow_clock
        between = LongRegister if slow_wires else StreamRegister
        ways = [
            ("asked", queue.o, executor.i, None if slow_clock else between),
            ("answered", executor.o, sender.i, None if slow_clock else between),
            ("sent", sender.o, encoder.i, LongRegister if slow_wires else None),
        ]
        for name, here, there, kind in ways:
            if kind is None:
                connect(m, here, there)
            else:
                m.submodules[name] = register = reset(kind(Symbol))
                connect(m, here, register.i)
                connect(m, register.o, there)
        if slow_wires:
            m.submodules.line = line = reset(SpareRegister(8))
            connect(m, encoder.o, line.i)
            connect(m, line.o, flipped(self.tx))
        else:
            connect(m, encoder.o, flipped(self.tx))
        connect(m, executor.host, flipped(self.host))
        m.d.comb += [
            executor.notice.eq(queue.notice),
            executor.told.eq(queue.told),
            queue.take.eq(executor.take),
            executor.expected.eq(queue.expected),
            self.targets.eq(executor.targets),
            self.start.eq(executor.start),
            self.program.eq(executor.program),
            self.layers.eq(executor.layers),
            self.results_at.eq(executor.results_at),
            self.finish.eq(executor.finish),
            self.abort.eq(queue.reset),
            executor.busy.eq(self.busy),
            self.idle.eq(executor.idle & ~queue.o.valid),
        ]
        return m
