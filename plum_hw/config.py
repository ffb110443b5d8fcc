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


PRESETS: dict[str, ArrayConfig] = {
    config.name: config
    for config in (
        # 9.5 RAMB36 a cluster (8 activations, 1 code, 1/2 table) of the A7-35T's 50. Lane
        # accumulators of 15 bits and sums of 23 save LUTs and cost signed-binary networks no cycle.
        ArrayConfig(
            name="arty-a7-35t",
            clusters=5,
            write_buses=2,
            act_depth=512,
            code_depth=1024,
            table_depth=512,
            reach=1,
            acc_bits=15,
            sum_bits=23,
            layer_counters=32,
        ),
        # The same part with fewer clusters that hold more: 21 of 50 RAMB36 each.
        ArrayConfig(
            name="arty-a7-35t-deep",
            clusters=2,
            write_buses=2,
            act_depth=1024,
            code_depth=4096,
            table_depth=1024,
            reach=1,
            acc_bits=15,
            sum_bits=23,
            layer_counters=32,
        ),
        # With a controller beside the array, which takes 6.5 RAMB36: three clusters of 14 that hold
        # the shipped network whole. Four do not; loading it part by part from the flash for every
        # image would take forty times as long as computing.
        ArrayConfig(
            name="arty-a7-35t-soc",
            clusters=3,
            write_buses=2,
            act_depth=512,
            code_depth=4096,
            table_depth=2048,
            reach=1,
            acc_bits=15,
            sum_bits=22,
            layer_counters=32,
        ),
        # 11 RAMB36 a cluster of the A7-100T's 135.
        ArrayConfig(
            name="arty-a7-100t",
            clusters=12,
            write_buses=4,
            act_depth=512,
            code_depth=2048,
            table_depth=1024,
        ),
        # The same with a controller, which takes more than the twelfth cluster leaves.
        ArrayConfig(
            name="arty-a7-100t-soc",
            clusters=11,
            write_buses=4,
            act_depth=512,
            code_depth=2048,
            table_depth=1024,
        ),
        # Block RAM would hold nine, which take long to route (docs/placement.md). A queue of one block
        # RAM has no selection behind it.
        ArrayConfig(
            name="ulx3s-85f",
            clusters=8,
            queue_bytes=2048,
            write_buses=2,
            act_depth=512,
            code_depth=2048,
            table_depth=1024,
            reach=1,
            acc_bits=15,
            sum_bits=23,
            layer_counters=32,
            requant_lanes=4,
            lut_inputs=4,
        ),
        # One cluster that holds the shipped network: 45 of the LFE5U-25F's 56 EBR, and 16 of its 28
        # multipliers, so that a second cluster would not fit.
        ArrayConfig(
            name="ecp5-25f",
            act_depth=1024,
            code_depth=2048,
            table_depth=1024,
            reach=1,
            acc_bits=15,
            sum_bits=22,
            layer_counters=32,
        ),
        # The same for the GW2A-18's 46 BSRAM.
        ArrayConfig(
            name="tang-primer-20k",
            act_depth=1024,
            code_depth=1024,
            table_depth=512,
            reach=1,
            acc_bits=15,
            sum_bits=22,
            result_depth=64,
            layer_counters=32,
            packet_bytes=528,
            queue_bytes=1024,
        ),
        # A quarter of the lanes: they take 90 to 98 % of the GW1NR-9's slices (docs/boards.md). Few
        # multipliers and narrow mask words save some at hardly any cycles, and sums in block RAM,
        # of which there is enough, the LUT RAM.
        ArrayConfig(
            name="tang-nano-9k",
            lanes=16,
            act_depth=512,
            code_depth=2048,
            mask_bits=16,
            table_depth=512,
            reach=1,
            acc_bits=14,
            sum_bits=19,
            result_depth=16,
            layer_counters=16,
            packet_bytes=272,
            queue_bytes=512,
            block_sums=1,
            requant_lanes=2,
        ),
        # What 5,280 logic cells and 30 block RAMs hold: activations take 16 of these, code lies in
        # three of the four SPRAMs.
        ArrayConfig(
            name="icebreaker",
            lanes=16,
            act_depth=512,
            code_depth=8192,
            mask_bits=8,
            table_depth=512,
            reach=1,
            acc_bits=15,
            sum_bits=20,
            result_depth=16,
            layer_counters=0,
            packet_bytes=126,
            queue_bytes=128,
            block_sums=1,
            requant_lanes=1,
            drain_lanes=1,
            one_port_code=1,
            slow_clock=1,
        ),
        # One cluster alone, as small as it can be: the reference for resources. 9 RAMB36: 8 for
        # activations, half a one for code and for tables each.
        ArrayConfig(
            name="cluster",
            act_depth=512,
            code_depth=512,
            head_depth=64,
            table_depth=512,
            reach=1,
            acc_bits=13,
            sum_bits=22,
        ),
        # One cluster with the memories of a whole small network.
        ArrayConfig(name="single", code_depth=20480),
        # Two lane groups: quick to simulate, every mechanism present.
        ArrayConfig(name="tiny", lanes=16, act_depth=1024, code_depth=4096, table_depth=4096),
        # The same with three clusters.
        ArrayConfig(
            name="tiny-3",
            clusters=3,
            write_buses=2,
            lanes=16,
            act_depth=512,
            code_depth=2048,
            table_depth=1024,
        ),
    )
}


def preset(name: str) -> ArrayConfig:
    """The preset of that name; a ConfigError lists the names there are."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ConfigError(
            f"no array preset {name!r}; presets are {', '.join(sorted(PRESETS))}"
        ) from None


def as_config(value: ArrayConfig | dict[str, Any] | str | None) -> ArrayConfig:
    """The configuration that someone asks for: one as it is, the knobs of a manifest, or a preset.

    Devices that are made to order are opened with this.
    """
    if isinstance(value, ArrayConfig):
        return value
    if isinstance(value, dict):
        return ArrayConfig.from_dict(value)
    if value is None:
        raise ConfigError(
            "no array is given; it must be a configuration or a preset: "
            f"{', '.join(sorted(PRESETS))}"
        )
    return preset(value)
