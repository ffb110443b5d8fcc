"""Ways to a device. All carry packets; what a device is called says which one is opened."""

from plum_host.transports.base import DamagedPacketError, StreamTransport, Transport
from plum_host.transports.find import open_transport
from plum_host.transports.in_process import InProcessTransport
from plum_host.transports.serial_port import SerialTransport
from plum_host.transports.udp import UdpTransport

__all__ = [
    "DamagedPacketError",
    "InProcessTransport",
    "SerialTransport",
    "StreamTransport",
    "Transport",
    "UdpTransport",
    "open_transport",
]
