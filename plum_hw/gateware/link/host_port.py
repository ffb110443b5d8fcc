"""The host's way into the memories."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig


class HostRequest(data.Struct):
    """One access to one word."""

    space: 3
    write: 1
    address: 16
    data: 64


HostPort = wiring.Signature(
    {"request": Out(stream.Signature(HostRequest)), "response": In(stream.Signature(64))}
)

#: A cluster's memories, while no run is in progress. Activations are written over the write buses.
MemoryPort = wiring.Signature(
    {
        "space": Out(3),
        "address": Out(16),
        "data": Out(32),
        "write_code": Out(1),
        "write_table": Out(1),
        "fetch": Out(1),  # strobe before activations are read
        "part": Out(3),  # which byte of the word is read
        # That byte `read_latency` cycles later, right `read_cycles` after address and `fetch`.
        "read": In(8),
    }
)


def read_latency(config: ArrayConfig) -> int:
    """Cycles from `part` to `read` of a cluster's memories, a register of the device's included."""
    return 2 if config.slow_clock else 4


def read_cycles(config: ArrayConfig) -> int:
    """Cycles that a cluster takes to find a word: activations come through the drain."""
    return config.drain_cycles + 12
