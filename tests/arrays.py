"""Arrays that several tests simulate: one compilation serves them all."""

from __future__ import annotations

import dataclasses

from plum_hw.config import preset

#: Three clusters with small memories: most networks need several parts, and a memory test is short.
SHORT = dataclasses.replace(
    preset("tiny-3"), name="short", act_depth=256, code_depth=256, table_depth=384
)
