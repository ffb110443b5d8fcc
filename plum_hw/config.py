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


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """One array.

    Parameters
    ----------
    name : preset name, for people; not part of the digest
    clusters : clusters of lanes, each with its own memories and program
    lanes : pixels that one cluster adds in a cycle (a *vector*)
    group_lanes : lanes that the drain, the requantizer and a memory write handle in a cycle
    act_bits : width of a stored activation
    act_depth : vectors in a cluster's activation memory
    weight_depth : mask words in a cluster's weight memory
    mask_bits : weights in one mask word
    program_depth : 32-bit words for layer and segment descriptors
    table_depth : 32-bit words for requantization constants and scatter lists
    acc_bits : lane accumulator (unsigned)
    sum_bits : drain accumulator (signed), the requantizer's operand
    scale_bits : requantization multipliers m, n, r (signed)
    bias_bits : requantization bias, and the requantizer's accumulator (signed)
    reach : largest kernel-column offset in lanes that the drain aligns (3 serves 7x7 'same')
    result_depth : 32-bit results of one run (logits)
    layer_counters : layers whose cycles are counted apart
    packet_bytes : largest packet body on the link

    Raises
    ------
    ConfigError : a knob out of range, with the value and the range
    """

    name: str = "custom"
    clusters: int = 1
    lanes: int = 64
    group_lanes: int = 8
    act_bits: int = 8
    act_depth: int = 1024
    weight_depth: int = 8192
    mask_bits: int = 32
    program_depth: int = 1024
    table_depth: int = 4096
    acc_bits: int = 16
    sum_bits: int = 24
    scale_bits: int = 18
    bias_bits: int = 44
    reach: int = 3
    result_depth: int = 256
    layer_counters: int = 64
    packet_bytes: int = 1040

    def __post_init__(self) -> None:
        for name, low, high in (
            ("clusters", 1, 64),
            ("lanes", 8, 256),
            ("group_lanes", 8, 8),
            ("act_bits", 2, 8),
            ("act_depth", 32, 4096),
            ("weight_depth", 32, 65536),
            ("mask_bits", 8, 32),
            ("program_depth", 64, 4096),
            ("table_depth", 64, 8192),
            ("acc_bits", 10, 20),
            ("sum_bits", 16, 25),
            ("scale_bits", 18, 18),
            ("bias_bits", 44, 44),
            ("reach", 1, 7),
            ("result_depth", 16, 4096),
            ("layer_counters", 16, 256),
            ("packet_bytes", 64, 4096),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(
                    f"{name} is {value!r}; it must be an integer from {low} to {high}"
                )
        if self.lanes & (self.lanes - 1):
            raise ConfigError(f"lanes is {self.lanes}; it must be a power of two")
        if self.mask_bits % 8:
            raise ConfigError(f"mask_bits is {self.mask_bits}; it must be 8, 16, 24 or 32")

    # ---- derived -------------------------------------------------------------------------------

    @property
    def groups(self) -> int:
        """Lane groups in a vector; also the cycles of one drain."""
        return self.lanes // self.group_lanes

    @property
    def act_addr_bits(self) -> int:
        return (self.act_depth - 1).bit_length()

    @property
    def weight_addr_bits(self) -> int:
        return (self.weight_depth - 1).bit_length()

    @property
    def program_addr_bits(self) -> int:
        return (self.program_depth - 1).bit_length()

    @property
    def table_addr_bits(self) -> int:
        return (self.table_depth - 1).bit_length()

    @property
    def group_bits(self) -> int:
        """Bits of a group index (at least one)."""
        return max(1, (self.groups - 1).bit_length())

    def as_dict(self) -> dict[str, Any]:
        """The knobs, as the bundle's manifest stores them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ArrayConfig:
        """Inverse of `as_dict`; unknown or missing knobs are a ConfigError."""
        known = {field.name for field in dataclasses.fields(cls)}
        if set(values) != known:
            wrong = sorted(set(values) ^ known)
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
        # One cluster with the memories of a whole small network: 41 RAMB36 of the A7-35T's 50 and
        # about 2 of the link. The weights (20 RAMB36) are those of ResNet-20 in one or two groups.
        ArrayConfig(name="arty-a7-35t", weight_depth=20480),
        ArrayConfig(name="arty-a7-100t", act_depth=2048, weight_depth=32768, table_depth=8192),
        # Two lane groups: quick to simulate, every mechanism present.
        ArrayConfig(
            name="tiny",
            lanes=16,
            act_depth=1024,
            weight_depth=4096,
            program_depth=1024,
            table_depth=4096,
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
