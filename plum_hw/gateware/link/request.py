"""A checked request: what `RequestReader` hands to `CommandExecutor`."""

from amaranth.lib import data

from plum_hw.config import ArrayConfig

#: Bits of a number of words in one packet, the longest that a configuration may have.
COUNT_BITS = 11


class Access(data.Struct):
    """Arguments of READ; WRITE has the same without the count."""

    space: 8
    cluster: 8
    address: 32
    count: 16


class Run(data.Struct):
    """Arguments of RUN."""

    program: 16
    layers: 16


def request_layout(config: ArrayConfig) -> data.StructLayout:
    """Layout of a request.

    *Fields*: ``status`` is OK where the request may be carried out as it is. ``targets`` has the
    bits of the clusters meant, ``wide`` tells words of eight bytes from words of four, and
    ``count`` is the number of words to read or write.
    """
    return data.StructLayout(
        {
            "sequence": 8,
            "op": 8,
            "status": 8,
            "targets": config.clusters,
            "space": 3,
            "wide": 1,
            "address": 16,
            "count": COUNT_BITS,
            "run": Run,
        }
    )
