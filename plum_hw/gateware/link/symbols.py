"""What travels between the stages of the link: a byte of a packet, or the mark that ends one."""

from amaranth.lib import data, enum


class Mark(enum.Enum, shape=2):
    """What a symbol is."""

    DATA = 0  # a byte of the packet
    END = 1  # the packet is over; `data` means nothing
    BAD = 2  # the packet is over and must not be used
    HIDDEN = 3  # a byte that counts for the checksum and is not sent


class Symbol(data.Struct):
    """One step of a packet stream: bytes marked DATA, then one END or BAD."""

    data: 8
    mark: Mark
