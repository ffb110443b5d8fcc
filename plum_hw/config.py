"""Array configuration: the knobs of one array, what follows from them, and named presets.

The same object makes the gateware, the compiler's placement, the golden machine and the digest by
which a host recognises a bundle made for another array.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from plum_hw.errors import ConfigError

#: Right shifts the requantizer can select, by two bits of the layer descriptor.
SHIFTS = (12, 16, 20, 24)
#: Knobs that were added after arrays had been recorded by their digests.
_LATER = ("head_depth", "requant_lanes", "drain_lanes", "one_port_code", "slow_clock")


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """One array.

    Parameters
    ----------
    name : preset name, for people; not part of the digest
    clusters : clusters of lanes, each with its own memories and program
    write_buses : buses that carry every write of activations to all clusters; each carries the
        groups of its own (`bus_of`)
    lanes : pixels that one cluster adds in a cycle (a *vector*)
    group_lanes : lanes that the drain, the requantizer and a memory write handle in a cycle
    act_bits : width of a stored activation
    act_depth : vectors in a cluster's activation memory
    code_depth : 32-bit words of a cluster for descriptors and mask words
    head_depth : words at the beginning of code memory in which all descriptors lie, and which are
        in LUT RAM as well, so that code memory has one reader and 512 words of it are half a block
        RAM; 0: descriptors may lie anywhere, code memory has two readers
    mask_bits : weights in one mask word
    table_depth : 32-bit words for requantization constants and scatter lists
    acc_bits : lane accumulator (unsigned)
    sum_bits : drain accumulator (signed), the requantizer's operand
    scale_bits : requantization multipliers m, n, r (signed)
    bias_bits : requantization bias, and the requantizer's accumulator (signed)
    reach : largest kernel-column offset in lanes that the drain aligns (3 serves 7x7 'same')
    result_depth : 32-bit results of one run (logits)
    layer_counters : layers whose cycles are counted apart; 0: none, nor beats and stalls
    packet_bytes : largest packet body on the link
    queue_bytes : memory for requests that wait while one is executed
    block_sums : 1: the drain's sums are in block RAM, 0: in LUT RAM, of which they take as much as
        anything in a cluster where LUTs have four inputs
    lut_inputs : of the FPGA's LUTs, 6 or 4. With 4 registers divide more of the logic, and
        multipliers have 18 bits, not 25
    requant_lanes : multipliers of the requantizer: 8, 4, 2 or 1. With fewer than `group_lanes` it
        takes a group in `group_parts` parts one after the other
    drain_lanes : lanes that the drain adds up in a cycle: 8, or 1, which saves much and lets drains
        begin only every `lanes` cycles; it needs `requant_lanes` 1, for a word of the sums is then
        one lane's, and sums in block RAM take little of it
    one_port_code : 1: code memory is there twice, so that each copy has one port, for reading or
        for writing, as the large memories beside the block RAM of some FPGAs have
    slow_clock : 1: without registers and queues that only a fast clock needs, for arrays with
        `drain_lanes` 1 (some 20 MHz on an iCE40 UltraPlus)

    Raises
    ------
    ConfigError : a knob out of range, with the value and the range
    """

    name: str = "custom"
    clusters: int = 1
    write_buses: int = 1
    lanes: int = 64
    group_lanes: int = 8
    act_bits: int = 8
    act_depth: int = 1024
    code_depth: int = 8192
    head_depth: int = 0
    mask_bits: int = 32
    table_depth: int = 4096
    acc_bits: int = 16
    sum_bits: int = 24
    scale_bits: int = 18
    bias_bits: int = 44
    reach: int = 3
    result_depth: int = 256
    layer_counters: int = 64
    packet_bytes: int = 1040
    queue_bytes: int = 4096
    block_sums: int = 0
    lut_inputs: int = 6
    requant_lanes: int = 8
    drain_lanes: int = 8
    one_port_code: int = 0
    slow_clock: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("clusters", 1, 16),
            ("write_buses", 1, 8),
            ("lanes", 8, 128),
            ("group_lanes", 8, 8),
            ("act_bits", 4, 8),
            ("act_depth", 32, 4096),
            ("code_depth", 64, 65536),
            ("head_depth", 0, 512),
            ("mask_bits", 8, 32),
            ("table_depth", 64, 8192),
            ("acc_bits", 10, 20),
            ("sum_bits", 12, 25),
            ("scale_bits", 16, 18),
            ("bias_bits", 36, 44),
            ("reach", 1, 7),
            ("result_depth", 16, 4096),
            ("layer_counters", 0, 256),
            ("packet_bytes", 64, 4096),
            ("queue_bytes", 128, 16384),
            ("block_sums", 0, 1),
            ("lut_inputs", 4, 6),
            ("requant_lanes", 1, 8),
            ("drain_lanes", 1, 8),
            ("one_port_code", 0, 1),
            ("slow_clock", 0, 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(
                    f"{name} is {value!r}; it must be an integer from {low} to {high}"
                )
        if self.lanes & (self.lanes - 1):
            raise ConfigError(f"lanes is {self.lanes}; it must be a power of two")
        if self.head_depth & (self.head_depth - 1) or 0 < self.head_depth < 16:
            raise ConfigError(
                f"head_depth is {self.head_depth}; it must be 0 or a power of two, at least 16"
            )
        if self.head_depth > self.code_depth:
            raise ConfigError(
                f"head_depth is {self.head_depth}; code_depth, {self.code_depth}, must not be less"
            )
        if self.write_buses not in (1, 2, 4, 8) or self.write_buses > self.groups:
            raise ConfigError(
                f"write_buses is {self.write_buses}; it must be 1, 2, 4 or 8, and at most "
                f"{self.groups} (lanes / {self.group_lanes})"
            )
        if self.queue_bytes & (self.queue_bytes - 1):
            raise ConfigError(f"queue_bytes is {self.queue_bytes}; it must be a power of two")
        if self.packet_bytes + 2 > self.queue_bytes:
            raise ConfigError(
                f"queue_bytes is {self.queue_bytes}; it must hold a packet of "
                f"{self.packet_bytes} bytes and two more"
            )
        if self.lut_inputs == 5:
            raise ConfigError("lut_inputs is 5; it must be 4 or 6")
        if self.requant_lanes not in (1, 2, 4, 8):
            raise ConfigError(f"requant_lanes is {self.requant_lanes}; it must be 8, 4, 2 or 1")
        if self.drain_lanes not in (1, 8):
            raise ConfigError(f"drain_lanes is {self.drain_lanes}; it must be 8 or 1")
        if self.drain_lanes < self.requant_lanes:
            raise ConfigError(
                f"drain_lanes is {self.drain_lanes}; with requant_lanes {self.requant_lanes} it "
                "must be 8"
            )
        if self.slow_clock and self.drain_lanes > 1:
            raise ConfigError(f"drain_lanes is {self.drain_lanes}; with slow_clock it must be 1")
        if self.one_port_code and self.head_depth:
            raise ConfigError(f"head_depth is {self.head_depth}; with one_port_code it must be 0")
        if 0 < self.layer_counters < 16:
            raise ConfigError(
                f"layer_counters is {self.layer_counters}; it must be 0, or at least 16"
            )
        if self.mask_bits % 8:
            raise ConfigError(f"mask_bits is {self.mask_bits}; it must be 8, 16, 24 or 32")

    # ---- derived -------------------------------------------------------------------------------

    @property
    def groups(self) -> int:
        """Lane groups in a vector."""
        return self.lanes // self.group_lanes

    @property
    def drain_cycles(self) -> int:
        """Cycles from one drain to the next at least: one for each group, and two for a sum that is
        read in the cycle before it is written; or one for each lane.
        """
        if self.drain_lanes == 1:
            return self.lanes
        return max(self.groups, 1 + self.block_sums)

    @property
    def slow_wires(self) -> bool:
        """Whether more registers divide what LUTs of four inputs and the way to them take long."""
        return self.lut_inputs == 4 and not self.slow_clock

    @property
    def reduce_steps(self) -> int:
        """Steps of the requantizer that add up the lanes of a group: two lanes a step, or one."""
        return self.group_lanes // min(2, self.drain_lanes)

    @property
    def group_parts(self) -> int:
        """Parts of a lane group that the requantizer takes one after the other."""
        return self.group_lanes // self.requant_lanes

    def bus_of(self, group: int) -> int:
        """The write bus that carries a lane group. Buses change places from one run of groups to
        the next, so that groups half a vector apart, which are often written together, have
        different ones.
        """
        buses = self.write_buses
        return (group + buses // 2 * (group // buses)) % buses

    @property
    def act_addr_bits(self) -> int:
        return (self.act_depth - 1).bit_length()

    @property
    def code_addr_bits(self) -> int:
        return (self.code_depth - 1).bit_length()

    @property
    def program_depth(self) -> int:
        """Words of code memory, from its beginning, in which descriptors may lie."""
        return self.head_depth or self.code_depth

    @property
    def program_addr_bits(self) -> int:
        return (self.program_depth - 1).bit_length()

    @property
    def cluster_bits(self) -> int:
        """Bits of a cluster's number (at least one)."""
        return max(1, (self.clusters - 1).bit_length())

    @property
    def table_addr_bits(self) -> int:
        return (self.table_depth - 1).bit_length()

    @property
    def filter_bits(self) -> int:
        """Bits of the number of a filter whose constants are in table memory, four words each."""
        return (self.table_depth // 4 - 1).bit_length()

    @property
    def group_bits(self) -> int:
        """Bits of a group index (at least one)."""
        return max(1, (self.groups - 1).bit_length())

    def as_dict(self) -> dict[str, Any]:
        """The knobs, as the bundle's manifest stores them: those of `_LATER` only where they are
        not at their default, so that arrays keep the digest that they had without them.
        """
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default or field.name not in _LATER
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ArrayConfig:
        """Inverse of `as_dict`; unknown or missing knobs are a ConfigError."""
        known = {field.name for field in dataclasses.fields(cls)}
        if wrong := sorted((set(values) ^ known) - (known & set(_LATER))):
            raise ConfigError(f"configuration has unknown or missing knobs: {', '.join(wrong)}")
        return cls(**values)

    @property
    def digest(self) -> str:
        """32 hex digits that identify the array: what a device reports and a bundle is made for."""
        knobs = {key: value for key, value in self.as_dict().items() if key != "name"}
        text = json.dumps(knobs, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]
