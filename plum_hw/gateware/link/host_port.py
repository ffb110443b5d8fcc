"""The host's way into the memories."""

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

#: A cluster's memories, while no run is in progress; `read` is settled `READ_CYCLES` after space
#: and address. Activations are written over the write buses.
MemoryPort = wiring.Signature(
    {
        "space": Out(3),
        "address": Out(16),
        "data": Out(32),
        "write_code": Out(1),
        "write_table": Out(1),
        "read": In(64),
    }
)
READ_CYCLES = 4
