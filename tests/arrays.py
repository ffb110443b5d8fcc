"""Arrays that several tests simulate: one compilation serves them all."""

from __future__ import annotations

import dataclasses

from plum_hw.config import ArrayConfig
from plum_hw.presets import preset

#: Three clusters with small memories: most networks need several parts, and a memory test is short.
SHORT = dataclasses.replace(
    preset("tiny-3"), name="short", act_depth=256, code_depth=256, table_depth=384
)
#: Soon compiled, and mapped.
SMALL = ArrayConfig(
    name="small",
    lanes=8,
    act_depth=256,
    code_depth=512,
    mask_bits=16,
    table_depth=256,
    acc_bits=12,
    sum_bits=18,
    reach=1,
    result_depth=16,
    layer_counters=16,
    packet_bytes=128,
    queue_bytes=256,
    requant_lanes=2,
)
