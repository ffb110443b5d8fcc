"""Bit layouts of everything the gateware reads: one description for compiler, machine and gateware.

A `Layout` packs and unpacks Python integers; the gateware turns its `fields` into an Amaranth
struct (`plum_hw.gateware.structs`), so a width is written once. Fields are listed from bit 0
upwards.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property

import plum_hw
from plum_host.protocol import (  # noqa: F401  (the gateware takes the protocol's numbers from here)
    BROADCAST,
    IDENTITY,
    IDENTITY_BYTES,
    LAYER_COUNTERS,
    MAGIC,
    PROTOCOL_VERSION,
    RATE_BITS,
    READ_ONLY_SPACES,
    SPACE_BYTES,
    WRITE_ONLY_SPACES,
    Counter,
    Op,
    Reason,
    Space,
    Status,
)
from plum_hw.config import ArrayConfig

WORD_BITS = 32


class Start(enum.IntEnum):
    """What the first beat of a segment does to the lane accumulators."""

    CLEAR = 0  # acc = x
    DOUBLE = 1  # acc = 2*acc + x
    KEEP = 2  # acc = acc + x


class DrainOp(enum.IntEnum):
    """What a drain does to the drain accumulator; v is the aligned, optionally negated lanes."""

    SET = 0  # sum = v
    ADD = 1  # sum = sum + v
    NIBBLE = 2  # sum = 16*sum + v
    MAX = 3  # sum = max(sum, v)


class Select(enum.IntEnum):
    """Which lanes a scatter entry writes to the target group."""

    STRAIGHT = 0  # all eight lanes of the source group
    EVEN = 1  # lanes 0, 2, 4, 6 of the group that is held, then of the source group
    ODD = 2  # lanes 1, 3, 5, 7 of both
    HOLD = 3  # none: the source group is held for the EVEN and ODD entries that follow


#: `out_bits` of a layer whose outputs are the lowest `act_bits` of what is shifted, not clamped.
LOW_BITS = 15


@dataclass(frozen=True)
class Field:
    """One field: name, width in bits, and whether it is two's complement."""

    name: str
    bits: int
    signed: bool = False

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.bits - self.signed)) - 1


@dataclass(frozen=True)
class Layout:
    """A packed record of fields, stored in `words` consecutive 32-bit words, low word first."""

    name: str
    fields: tuple[Field, ...]

    @cached_property
    def bits(self) -> int:
        return sum(field.bits for field in self.fields)

    @cached_property
    def words(self) -> int:
        return -(-self.bits // WORD_BITS)

    def pack(self, **values: int) -> list[int]:
        """Words of one record. Every field must be given; a value out of range is a ValueError."""
        names = [field.name for field in self.fields]
        if set(values) != set(names):
            raise ValueError(f"{self.name}: fields differ: {sorted(set(values) ^ set(names))}")
        word, position = 0, 0
        for field in self.fields:
            value = int(values[field.name])
            if not field.low <= value <= field.high:
                raise ValueError(
                    f"{self.name}.{field.name} is {value}; "
                    f"{field.bits} bits hold {field.low} to {field.high}"
                )
            word |= (value & ((1 << field.bits) - 1)) << position
            position += field.bits
        mask = (1 << WORD_BITS) - 1
        return [(word >> (WORD_BITS * i)) & mask for i in range(self.words)]

    def unpack(self, words: list[int]) -> dict[str, int]:
        """Inverse of `pack`."""
        if len(words) != self.words:
            raise ValueError(f"{self.name} has {self.words} words, not {len(words)}")
        record = sum(int(word) << (WORD_BITS * i) for i, word in enumerate(words))
        values = {}
        for field in self.fields:
            value = record & ((1 << field.bits) - 1)
            if field.signed and value >> (field.bits - 1):
                value -= 1 << field.bits
            values[field.name] = value
            record >>= field.bits
        return values


def layer_layout(config: ArrayConfig) -> Layout:
    """Layer descriptor, in code memory. Addresses are of the memory the field names."""
    act = config.act_addr_bits
    return Layout(
        "layer",
        (
            Field("vectors", 9),  # output vectors; >= 1
            # Of a vector, the window sum too; 0: only to receive.
            Field("passes", config.filter_bits + 1),
            Field("segments", 10),  # segments of a pass; >= 1
            Field("window_segments", 10),  # of the window sum, before those; 0: no window sum
            Field("segment_ptr", config.code_addr_bits),  # first segment descriptor
            Field("weight_ptr", config.code_addr_bits),  # first mask word
            Field("table_ptr", config.table_addr_bits),  # requantization constants, filter 0
            Field("scatter_ptr", config.table_addr_bits),  # scatter list of vector 0
            Field("in_base", act),  # activation address of vector 0, filter 0
            Field("in_step", act),  # added per vector (modulo the memory's size)
            Field("filter_step", 1),  # 1: input and residual advance with the filter (depthwise)
            Field("out_base", act),  # added to a scatter entry's offset and the filter's channel
            Field("res_base", act),  # residual of vector 0
            Field("res_step", act),  # added per vector
            Field("shift", 2),  # index into config.SHIFTS
            Field("out_bits", 4),  # clamp to 0 .. 2**out_bits - 1, or LOW_BITS
            Field("residual", 1),  # a term r*R
            Field("reduce", 1),  # sum the lanes (dense layers)
            Field("wide", 1),  # reduce only: push the 32-bit sum as a result, write nothing
            Field("shared_masks", 1),  # all passes read the same mask words
            Field("pair", 1),  # two filters a pass
            Field("odd", 1),  # pair: the last pass's first filter is none
            Field("group", config.cluster_bits),  # of this cluster, for entries that are `grouped`
            Field("left_edge", config.groups),  # bit g: group g begins a strip
        ),
    )


def segment_layout(config: ArrayConfig) -> Layout:
    """Segment descriptor, one word of code memory: a run of mask words at one place."""
    layout = Layout(
        "segment",
        (
            Field("offset", config.act_addr_bits),  # address of mask bit 0, relative to the window
            Field("words", 7),  # mask words; >= 1
            Field("start", 2),  # Start
            Field("drain", 1),  # after the last beat the lanes are drained
            Field("shift", 4, signed=True),  # sum[lane] takes acc[lane + shift]
            Field("op", 2),  # DrainOp
            Field("negate", 1),  # v = -acc
            Field("residual", 1),  # a residual: its one word is an address, not a mask
            Field("bank", 1),  # which filter of a pair
            Field("emit", 1),  # with drain: the filter is complete
        ),
    )
    assert layout.words == 1
    return layout


def scatter_layout(config: ArrayConfig) -> Layout:
    """Scatter entry, one word of table memory: one write of one group, or none (HOLD)."""
    layout = Layout(
        "scatter",
        (
            Field("offset", config.act_addr_bits),  # vector address relative to out_base + channel
            Field("source", config.group_bits),  # group of the drain accumulator
            Field("target", config.group_bits),  # group of the written vector
            Field("select", 2),  # Select
            Field("count", 4),  # source lanes >= count are written as zero (0: all zero)
            Field("dest", config.cluster_bits),  # cluster that is written, less the filter's dest
            Field("grouped", 1),  # dest is a group instead: all clusters of that `layer.group`
            Field("last", 1),  # ends the list of this vector
        ),
    )
    assert layout.words == 1
    return layout


def requant_layout(config: ArrayConfig) -> Layout:
    """Requantization constants of one filter, in table memory."""
    layout = Layout(
        "requant",
        (
            Field("scale", config.scale_bits, signed=True),
            Field("bias", config.bias_bits, signed=True),
            Field("window", config.scale_bits, signed=True),
            Field("residual", config.scale_bits, signed=True),
            Field("channel", 12),  # where the filter's output is written
            Field("dest", config.cluster_bits),  # added to the scatter entries' dest
        ),
    )
    assert layout.words == 4
    return layout


def space_words(config: ArrayConfig) -> dict[Space, int]:
    """Words that the link can address in each space; RESULT and COUNTER are the device's, not a
    cluster's.
    """
    return {
        Space.CODE: config.code_depth,
        Space.TABLE: config.table_depth,
        Space.ACTIVATION: config.act_depth * config.groups,
        Space.RESULT: config.result_depth,
        Space.COUNTER: LAYER_COUNTERS + config.layer_counters,
        Space.LINE: 1,
        Space.IDENTITY: IDENTITY_BYTES // SPACE_BYTES[Space.IDENTITY],
    }


def identity(config: ArrayConfig, clock_hz: int = 0) -> bytes:
    """Content of the IDENTITY space; `clock_hz` of the array's clock, 0 where nobody said."""
    values: dict[str, bytes | int] = {
        "magic": MAGIC,
        "version": PROTOCOL_VERSION,
        "clusters": config.clusters,
        "packet_bytes": config.packet_bytes,
        "queue_bytes": config.queue_bytes,
        "result_words": config.result_depth,
        "clock_khz": clock_hz // 1000,
        "digest": bytes.fromhex(config.digest),
        "name": config.name.encode(errors="replace")[:16],
        "build": f"plum_hw {plum_hw.__version__}".encode()[:16],
    }
    parts = [
        value.ljust(size, b"\0") if isinstance(value, bytes) else value.to_bytes(size, "little")
        for (_, size), value in zip(IDENTITY, values.values(), strict=True)
    ]
    return b"".join(parts)
