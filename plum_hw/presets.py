"""The arrays that have names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plum_hw.config import ArrayConfig
from plum_hw.errors import ConfigError

#: What block RAM holds: 22 of the LFE5U-85F's 208 EBR a cluster. A queue of one EBR has no
#: selection behind it.
_ULX3S_85F = ArrayConfig(
    name="ulx3s-85f",
    clusters=9,
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
)

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
        _ULX3S_85F,
        # The same with a controller, which takes more than the ninth cluster leaves.
        replace(_ULX3S_85F, name="ulx3s-85f-soc", clusters=8),
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
