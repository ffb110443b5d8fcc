"""What travels between the blocks of a cluster."""

# No postponed annotations here: Amaranth reads the fields of a Struct from them.
from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.layouts import DrainOp, Start

#: Sum banks: two for filters, then two for the window sum.
WINDOW_BANK = 2


class DrainJob(data.Struct):
    """What one drain does."""

    shift: signed(4)  # sum[lane] takes acc[lane + shift]
    op: DrainOp
    negate: unsigned(1)
    bank: unsigned(2)  # 0, 1: filters; 2, 3: window sum


class EmitJob(data.Struct):
    """What one emission does."""

    filter: unsigned(12)  # without the window-sum filter
    bank: unsigned(1)  # of the filter's sums
    window_bank: unsigned(1)  # of the window sum
    last_filter: unsigned(1)  # the next emission is of the next vector


class Beat(data.Struct):
    """What one beat does to the lanes; travels beside the activation memory's read."""

    valid: unsigned(1)  # the accumulators take a step
    null: unsigned(1)  # x is zero
    start: Start
    drain: unsigned(1)  # last beat before a drain
    drain_job: DrainJob
    residual: unsigned(1)  # the vector goes to the residual register, not to the lanes
    emit: unsigned(1)  # emit beat
    emit_job: EmitJob


def sums_layout(config: ArrayConfig) -> data.ArrayLayout:
    """Drain sums of one group."""
    return data.ArrayLayout(signed(config.sum_bits), config.group_lanes)


def sum_port(config: ArrayConfig) -> wiring.Signature:
    """Reading the drain's sums: `sums` holds what was addressed in the cycle before."""
    return wiring.Signature(
        {
            "bank": Out(2),
            "group": Out(config.group_bits),
            "sums": In(sums_layout(config)),
        }
    )


def table_port(config: ArrayConfig) -> wiring.Signature:
    """Reading table memory: `data` holds what was addressed two cycles before."""
    return wiring.Signature({"address": Out(config.table_addr_bits), "data": In(32)})


def write_port(config: ArrayConfig) -> wiring.Signature:
    """Writing one group of a vector; `enable` has one bit for each lane of the group."""
    return wiring.Signature(
        {
            "enable": Out(config.group_lanes),
            "address": Out(config.act_addr_bits),
            "group": Out(config.group_bits),
            "data": Out(data.ArrayLayout(unsigned(config.act_bits), config.group_lanes)),
        }
    )


def word_layout(config: ArrayConfig) -> data.StructLayout:
    """One mask word on its way from the fetcher to the decoder."""
    return data.StructLayout(
        {
            "mask": unsigned(config.mask_bits),
            "address": unsigned(config.act_addr_bits),  # of mask bit 0
            "start": Start,  # of the word's first beat
            "drain": unsigned(1),  # the word's last beat drains
            "drain_job": DrainJob,
            "residual": unsigned(1),  # a residual read: one beat, lanes left alone
            "emit": unsigned(1),  # the word's last beat emits
            "emit_job": EmitJob,
        }
    )


def segment_job_layout(config: ArrayConfig) -> data.StructLayout:
    """One segment (or residual read) on its way from the walker to the fetcher."""
    return data.StructLayout(
        {
            "address": unsigned(config.act_addr_bits),  # of mask bit 0 of the first word
            "weight": unsigned(config.weight_addr_bits),  # of the first mask word
            "words": unsigned(7),
            "start": Start,
            "drain": unsigned(1),
            "drain_job": DrainJob,
            "residual": unsigned(1),
            "emit": unsigned(1),
            "emit_job": EmitJob,
        }
    )


def word_stream(config: ArrayConfig) -> stream.Signature:
    """Mask words."""
    return stream.Signature(word_layout(config))


def segment_stream(config: ArrayConfig) -> stream.Signature:
    """Segments."""
    return stream.Signature(segment_job_layout(config))


__all__ = [
    "WINDOW_BANK",
    "Beat",
    "DrainJob",
    "EmitJob",
    "segment_job_layout",
    "segment_stream",
    "sum_port",
    "sums_layout",
    "table_port",
    "word_layout",
    "word_stream",
    "write_port",
]
