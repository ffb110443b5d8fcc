"""The link's end in the device."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.config import ArrayConfig
from plum_hw.gateware.link.cobs_decoder import CobsDecoder
from plum_hw.gateware.link.cobs_encoder import CobsEncoder
from plum_hw.gateware.link.executor import CommandExecutor
from plum_hw.gateware.link.host_port import HostPort
from plum_hw.gateware.link.packet_receiver import PacketReceiver
from plum_hw.gateware.link.packet_sender import PacketSender
from plum_hw.gateware.link.request_reader import RequestReader
from plum_hw.gateware.link.response_writer import ResponseWriter


class Link(wiring.Component):
    """Requests come as bytes, answers leave as bytes, and between them the clusters are served.

    Whatever arrives, the next good packet is answered: nothing in the chain waits for more than the
    0x00 that ends a packet. One byte a cycle each way; a packet is read only after it has been
    received whole, and the line waits meanwhile.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    rx, tx : bytes of the line
    host, targets, start, program, layers, abort, busy : as `CommandExecutor`
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
                "abort": Out(1),
                "busy": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.receiver = receiver = PacketReceiver(self._config.packet_bytes)
        m.submodules.reader = reader = RequestReader(self._config)
        m.submodules.executor = executor = CommandExecutor(self._config)
        m.submodules.writer = writer = ResponseWriter()
        m.submodules.sender = sender = PacketSender()
        m.submodules.encoder = encoder = CobsEncoder()

        connect(m, flipped(self.rx), decoder.i)
        connect(m, decoder.o, receiver.i)
        connect(m, receiver.o, reader.i)
        connect(m, reader.request, executor.request)
        connect(m, reader.words, executor.write_words)
        connect(m, executor.answer, writer.answer)
        connect(m, executor.read_words, writer.words)
        connect(m, writer.o, sender.i)
        connect(m, sender.o, encoder.i)
        connect(m, encoder.o, flipped(self.tx))
        connect(m, executor.host, flipped(self.host))
        m.d.comb += [
            reader.length.eq(receiver.length),
            reader.running.eq(executor.running),
            self.targets.eq(executor.targets),
            self.start.eq(executor.start),
            self.program.eq(executor.program),
            self.layers.eq(executor.layers),
            self.abort.eq(executor.abort),
            executor.busy.eq(self.busy),
        ]
        return m
