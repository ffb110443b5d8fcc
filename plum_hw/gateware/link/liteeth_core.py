"""The Ethernet, ARP, IPv4, ICMP and UDP core of LiteEth, as Verilog.

LiteEth is written in Migen; its core becomes one Verilog module that Amaranth uses as an Instance.
Only what stands around it in LiteX is left out: bus, registers, clock and reset primitives.
"""

from __future__ import annotations

from typing import Any

from plum_hw.network import NetworkConfig

#: Name of the module.
ETHERNET_MODULE = "plum_ethernet"
#: Between frames. Ref: IEEE 802.3, 4.4.2: 96 bit times.
_GAP_NIBBLES = 24
_LICENCE = """\
// Made by LiteEth {version}, copyright (c) 2012-2024 EnjoyDigital and others, BSD 2-Clause licence.
"""


def ethernet_verilog(network: NetworkConfig, clock_hz: int) -> str:
    """The core for one UDP port: the same text from run to run.

    Ports: `sys_clk`, `sys_rst`, and both clocks of MII with resets; `mii_*`; `source_*`, the bytes
    of datagrams that came for the port and where from; `sink_*`, those to send, with their number
    and where to, which must stay until the last is taken. UDP checksums are left out, as IPv4
    allows; a datagram whose frame check is wrong is not held back, for our packets have their own.

    Raises `ModuleNotFoundError` where LiteEth is not installed.
    """
    from importlib.metadata import version

    from liteeth.common import eth_phy_description
    from liteeth.core import LiteEthUDPIPCore
    from liteeth.phy.mii import LiteEthPHYMIIRX, LiteEthPHYMIITX
    from litex.gen import LiteXModule
    from litex.gen.fhdl import verilog
    from litex.soc.interconnect import stream
    from migen import FSM, ClockDomain, ClockDomainsRenamer, If, NextState, NextValue, Signal

    class Gap(LiteXModule):
        """Between frames. LiteEth's own has one cycle a byte, of which MII takes two."""

        def __init__(self) -> None:
            self.sink = stream.Endpoint(eth_phy_description(8))
            self.source = stream.Endpoint(eth_phy_description(8))
            left = Signal(max=_GAP_NIBBLES)
            self.fsm = fsm = FSM()
            ended = self.sink.valid & self.sink.last & self.sink.ready
            fsm.act(
                "COPY",
                self.sink.connect(self.source),
                NextValue(left, _GAP_NIBBLES - 1),
                If(ended, NextState("GAP")),
            )
            fsm.act("GAP", NextValue(left, left - 1), If(left == 0, NextState("COPY")))

    class Phy(LiteXModule):
        """MII with clocks and resets from outside."""

        dw = 8
        tx_clk_freq = rx_clk_freq = 25e6
        integrated_ifg_inserter = True

        def __init__(self, pads: Any) -> None:
            self.gap = ClockDomainsRenamer("eth_tx")(Gap())
            self.tx = ClockDomainsRenamer("eth_tx")(LiteEthPHYMIITX(pads))
            self.rx = ClockDomainsRenamer("eth_rx")(LiteEthPHYMIIRX(pads))
            self.comb += self.gap.source.connect(self.tx.sink)
            self.sink, self.source = self.gap.sink, self.rx.source

    class Pads:
        """What LiteEth expects of a platform's pins."""

        def __init__(self) -> None:
            self.rx_dv, self.rx_er = Signal(name="mii_rx_dv"), Signal(name="mii_rx_er")
            self.rx_data = Signal(4, name="mii_rx_data")
            self.tx_en, self.tx_data = Signal(name="mii_tx_en"), Signal(4, name="mii_tx_data")

    class Top(LiteXModule):
        def __init__(self) -> None:
            self.cd_sys, self.cd_eth_rx = ClockDomain("sys"), ClockDomain("eth_rx")
            self.cd_eth_tx = ClockDomain("eth_tx")
            pads = Pads()
            self.phy = Phy(pads)
            self.core = LiteEthUDPIPCore(
                self.phy,
                network.mac_number,
                network.ip_number,
                clk_freq=clock_hz,
                with_ip_broadcast=False,
            )
            port = self.core.udp.crossbar.get_port(network.port)
            self.ports = set(vars(pads).values())
            for domain in (self.cd_sys, self.cd_eth_rx, self.cd_eth_tx):
                self.ports |= {domain.clk, domain.rst}
            for side in ("sink", "source"):
                for name in _STREAM:
                    signal = getattr(getattr(port, side), name)
                    signal.name_override = f"{side}_{name}"
                    self.ports.add(signal)

    top = Top()
    text = str(verilog.convert(top, top.ports, name=ETHERNET_MODULE))
    # Banners carry the date.
    lines = [line for line in text.splitlines() if not line.startswith("//")]
    return _LICENCE.format(version=version("liteeth")) + "\n".join(lines) + "\n"


_STREAM = (
    "valid",
    "ready",
    "last",
    "data",
    "ip_address",
    "src_port",
    "dst_port",
    "length",
)
