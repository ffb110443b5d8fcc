"""The way into a cluster's memories."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


class HostRequest(data.Struct):
    """One access to one word."""

    space: 3
    write: 1
    address: 16
    data: 64


HostPort = wiring.Signature(
    {"request": Out(stream.Signature(HostRequest)), "response": In(stream.Signature(64))}
)
