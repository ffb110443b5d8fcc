"""Where a board with an Ethernet port is found in the network."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

from plum_hw.errors import ConfigError

#: Longest payload of a datagram that needs no fragments: 1,500 bytes less IPv4's and UDP's headers.
DATAGRAM_BYTES = 1472


class Link(StrEnum):
    """What a board's host is connected to."""

    UART = "uart"
    ETHERNET = "ethernet"


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Addresses of a board: fixed when it is built, for there is nobody on it to negotiate them.

    Parameters
    ----------
    ip : IPv4 address
    mac : 48-bit address of the port, locally administered unless the user owns one
    port : UDP port of the link
    """

    ip: str = "192.168.1.50"
    mac: str = "02:70:6c:75:6d:01"
    port: int = 29_781

    def __post_init__(self) -> None:
        try:
            address = ipaddress.IPv4Address(self.ip)
        except ValueError:
            raise ConfigError(f"IP address {self.ip!r} is none; it must be like {_IP}") from None
        last = int(address) & 0xFF
        if address.is_multicast or address.is_unspecified or last in (0, 255):
            # The core takes addresses that end in 255 for broadcasts.
            raise ConfigError(f"IP address {self.ip} is not that of one board; give one like {_IP}")
        if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", self.mac):
            raise ConfigError(f"MAC address {self.mac!r} is none; it must be like {_MAC}")
        if self.mac_number >> 40 & 1 or not self.mac_number:
            raise ConfigError(
                f"MAC address {self.mac} is not that of one port; give one like {_MAC}"
            )
        if not 1 <= self.port <= 0xFFFF:
            raise ConfigError(f"UDP port is {self.port}; it must be 1 to 65535")

    @property
    def ip_number(self) -> int:
        return int(ipaddress.IPv4Address(self.ip))

    @property
    def mac_number(self) -> int:
        return int(self.mac.replace(":", ""), 16)

    @property
    def url(self) -> str:
        """What `plum_host` opens."""
        return f"udp://{self.ip}:{self.port}"


_IP, _MAC = NetworkConfig.ip, NetworkConfig.mac
