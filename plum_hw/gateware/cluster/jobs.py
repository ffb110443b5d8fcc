"""What travels between the blocks of a cluster."""

# No postponed annotations here: Amaranth reads the fields of a Struct from them.
from amaranth.hdl import Cat, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.layouts import DrainOp, Start

#: The first of the two banks that window sum and residual have, where there are any.
SIDE_BANK = 2
#: Mask bits that the decoder works on at a time.
MASK_BYTE = 8


class DrainJob(data.Struct):
    """What one drain does."""

    shift: signed(4)  # sum[lane] takes acc[lane + shift]
    op: DrainOp
    negate: unsigned(1)
    bank: unsigned(2)  # see docs/architecture.md, "Cycles"


def emit_job_layout(config: ArrayConfig) -> data.StructLayout:
    """What one emission does."""
    return data.StructLayout(
        {
            "filter": unsigned(config.filter_bits),  # without the window-sum filter
            "bank": unsigned(2),  # of the filter's sums
            "window_bank": unsigned(1),  # SIDE_BANK + this: the window sum
            "residual_bank": unsigned(1),  # SIDE_BANK + this: the residual
            "last_filter": unsigned(1),  # the next emission is of the next vector
        }
    )


def beat_layout(config: ArrayConfig) -> data.StructLayout:
    """What one beat does to the lanes; travels beside the activation memory's read."""
    return data.StructLayout(
        {
            "valid": unsigned(1),  # the accumulators take a step
            "null": unsigned(1),  # x is zero
            "start": Start,
            "drain": unsigned(1),  # last beat before a drain
            "drain_job": DrainJob,
            "emit": unsigned(1),  # with drain: the filter is complete
            "emit_job": emit_job_layout(config),
        }
    )


def sums_layout(config: ArrayConfig) -> data.ArrayLayout:
    """A word of the drain's sums: those of a group, or one lane's."""
    return data.ArrayLayout(signed(config.sum_bits), config.drain_lanes)


def sum_port(config: ArrayConfig) -> wiring.Signature:
    """Reading the drain's sums: `sums` holds what was addressed in the cycle before, of a group or
    of one lane.
    """
    lane = {"lane": Out(range(config.group_lanes))} if config.drain_lanes == 1 else {}
    return wiring.Signature(
        {
            "bank": Out(2),
            "group": Out(config.group_bits),
            **lane,
            "sums": In(sums_layout(config)),
        }
    )


def table_port(config: ArrayConfig) -> wiring.Signature:
    """Reading table memory: `data` holds what was addressed two cycles before, or one with a slow
    clock.
    """
    return wiring.Signature({"address": Out(config.table_addr_bits), "data": In(32)})


def bus_layout(config: ArrayConfig) -> data.StructLayout:
    """What a write bus carries in a cycle: one group of a vector, or a result."""
    return data.StructLayout(
        {
            "enable": unsigned(1),  # else all is zero
            "address": unsigned(max(config.act_addr_bits, 12)),
            "group": unsigned(config.group_bits),
            "data": data.ArrayLayout(unsigned(config.act_bits), config.group_lanes),
            "dest": unsigned(config.cluster_bits),  # cluster, or group of clusters
            "grouped": unsigned(1),
            "result": unsigned(1),  # not an activation: `address` and 32 bits of the result memory
        }
    )


def bus_number(config: ArrayConfig, group: Value) -> Value:
    """`ArrayConfig.bus_of` of a group: its low bits, the highest of them inverted in every second
    run of groups.
    """
    bits = (config.write_buses - 1).bit_length()
    if not 0 < bits < config.group_bits:
        return group[:bits]
    return Cat(group[: bits - 1], group[bits - 1] ^ group[bits])


def mask_layout(config: ArrayConfig) -> data.StructLayout:
    """A byte of a mask word on its way from the fetcher to the decoder."""
    return data.StructLayout(
        {
            "mask": unsigned(MASK_BYTE),
            "address": unsigned(config.act_addr_bits),  # of mask bit 0 of the word
            "byte": unsigned((config.mask_bits // MASK_BYTE - 1).bit_length()),  # of the word
            "start": Start,  # of the byte's first beat
            "drain": unsigned(1),  # the byte's last beat drains
            "drain_job": DrainJob,
            "emit": unsigned(1),  # with drain: the filter is complete
            "emit_job": emit_job_layout(config),
        }
    )


def segment_job_layout(config: ArrayConfig) -> data.StructLayout:
    """One segment on its way from the walker to the fetcher."""
    return data.StructLayout(
        {
            "address": unsigned(config.act_addr_bits),  # of mask bit 0 of the first word
            "restart": unsigned(1),  # its words are the first of the layer, else those that follow
            "words": unsigned(7),
            "start": Start,
            "drain": unsigned(1),
            "drain_job": DrainJob,
            "residual": unsigned(1),  # its one word is added to `address`: one beat there
            "emit": unsigned(1),
            "emit_job": emit_job_layout(config),
        }
    )


def mask_stream(config: ArrayConfig) -> stream.Signature:
    """Bytes of mask words."""
    return stream.Signature(mask_layout(config))


def segment_stream(config: ArrayConfig) -> stream.Signature:
    """Segments."""
    return stream.Signature(segment_job_layout(config))


__all__ = [
    "MASK_BYTE",
    "SIDE_BANK",
    "DrainJob",
    "beat_layout",
    "bus_layout",
    "bus_number",
    "emit_job_layout",
    "mask_layout",
    "mask_stream",
    "segment_job_layout",
    "segment_stream",
    "sum_port",
    "sums_layout",
    "table_port",
]
