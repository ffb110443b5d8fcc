"""What the receiver has to tell the host, beside the answers to requests."""

from amaranth.lib import data

TAG_BITS = 4


class Notice(data.Struct):
    """Why a packet was not queued; `reason` has the low bits of a `plum_host.protocol.Reason`."""

    reason: 3
    tag: TAG_BITS
    got: 8
