"""Ethernet port: the link's bytes in UDP datagrams."""

from typing import Any

from amaranth.hdl import C, ClockDomain, ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.gateware.link.datagrams import DatagramSender
from plum_hw.gateware.link.liteeth_core import ETHERNET_MODULE, ethernet_verilog
from plum_hw.network import DATAGRAM_BYTES, NetworkConfig

#: The media-independent interface as the chip sees it; all but the clocks belong to a clock.
MII = wiring.Signature(
    {
        "rx_clk": In(1),
        "rx_dv": In(1),
        "rx_er": In(1),
        "rx_data": In(4),
        "tx_clk": In(1),
        "tx_en": Out(1),
        "tx_data": Out(4),
    }
)


class EthernetPort(wiring.Component):
    """UDP over 100 Mbit/s MII, with ARP and ping: LiteEth's core, and datagrams for it.

    Answers go to whoever sent the last datagram. A byte of the line is eight cycles at 100 MHz, and
    the link takes two; so nothing is held back, and what comes is never waited for.

    Parameters
    ----------
    network : NetworkConfig
    clock_hz : of `sync`, above 25 MHz

    Members
    -------
    mii : pins to the PHY, its clocks among them
    i : bytes to send
    o : bytes received
    """

    # Ref: IEEE 802.3, clause 22 (MII)

    def __init__(self, network: NetworkConfig, clock_hz: int) -> None:
        self._network = network
        self._clock_hz = clock_hz
        super().__init__(
            {"mii": Out(MII), "i": In(stream.Signature(8)), "o": Out(stream.Signature(8))}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        platform.add_file(f"{ETHERNET_MODULE}.v", ethernet_verilog(self._network, self._clock_hz))
        for domain, clock in (("eth_rx", self.mii.rx_clk), ("eth_tx", self.mii.tx_clk)):
            setattr(m.domains, domain, ClockDomain(domain, local=True))
            m.d.comb += ClockSignal(domain).eq(clock)
            m.submodules[f"{domain}_reset"] = ResetSynchronizer(ResetSignal("sync"), domain=domain)

        m.submodules.sender = sender = DatagramSender(DATAGRAM_BYTES)
        connect(m, flipped(self.i), sender.i)
        came_from, from_port = Signal(32), Signal(16)
        host, host_port = Signal(32), Signal(16)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [host.eq(came_from), host_port.eq(from_port), sender.ready.eq(1)]
        # One that is on its way keeps its address.
        target, target_port = Signal(32), Signal(16)
        with m.If(sender.start):
            m.d.sync += [target.eq(host), target_port.eq(host_port)]
        m.submodules.core = Instance(
            ETHERNET_MODULE,
            i_sys_clk=ClockSignal(),
            i_sys_rst=ResetSignal(),
            i_eth_rx_clk=ClockSignal("eth_rx"),
            i_eth_rx_rst=ResetSignal("eth_rx"),
            i_eth_tx_clk=ClockSignal("eth_tx"),
            i_eth_tx_rst=ResetSignal("eth_tx"),
            i_mii_rx_dv=self.mii.rx_dv,
            i_mii_rx_er=self.mii.rx_er,
            i_mii_rx_data=self.mii.rx_data,
            o_mii_tx_en=self.mii.tx_en,
            o_mii_tx_data=self.mii.tx_data,
            o_source_valid=self.o.valid,
            i_source_ready=self.o.ready,
            o_source_data=self.o.payload,
            o_source_ip_address=came_from,
            o_source_src_port=from_port,
            i_sink_valid=sender.o.valid,
            o_sink_ready=sender.o.ready,
            i_sink_last=sender.o.payload.last,
            i_sink_data=sender.o.payload.data,
            i_sink_ip_address=target,
            i_sink_src_port=C(self._network.port, 16),
            i_sink_dst_port=target_port,
            i_sink_length=sender.length,
        )
        return m
