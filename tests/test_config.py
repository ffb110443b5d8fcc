"""Array configurations: what they refuse, and what follows from them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest

from plum_hw.config import ArrayConfig
from plum_hw.errors import ConfigError
from plum_hw.layouts import layer_layout, requant_layout, scatter_layout, segment_layout
from plum_hw.presets import PRESETS, as_config, preset


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_whole(name):
    config = preset(name)
    assert config.name == name
    assert as_config(config.as_dict()) == config
    for layout in (segment_layout(config), scatter_layout(config)):
        assert layout.bits <= 32
    assert requant_layout(config).words == 4
    assert layer_layout(config).words < config.code_depth


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"clusters": 0}, ["clusters is 0", "1 to 16"]),
        ({"lanes": 48}, ["lanes is 48", "power of two"]),
        ({"lanes": 16, "write_buses": 4}, ["write_buses is 4", "at most 2"]),
        ({"write_buses": 3}, ["write_buses is 3", "1, 2, 4 or 8"]),
        ({"layer_counters": 7}, ["layer_counters is 7", "0, or at least 16"]),
        ({"requant_lanes": 3}, ["requant_lanes is 3", "8, 4, 2 or 1"]),
        ({"drain_lanes": 4}, ["drain_lanes is 4", "8 or 1"]),
        ({"drain_lanes": 1}, ["drain_lanes is 1", "requant_lanes 8"]),
        ({"slow_clock": 1}, ["drain_lanes is 8", "slow_clock"]),
        ({"one_port_code": 1, "head_depth": 64}, ["head_depth is 64", "one_port_code"]),
        ({"mask_bits": 12}, ["mask_bits is 12", "8, 16, 24 or 32"]),
        ({"act_depth": True}, ["act_depth is True", "integer"]),
        ({"head_depth": 48}, ["head_depth is 48", "power of two"]),
        ({"head_depth": 8}, ["head_depth is 8", "at least 16"]),
        ({"code_depth": 64, "head_depth": 128}, ["head_depth is 128", "code_depth, 64"]),
    ],
)
def test_wrong_knobs_are_named(knobs, words):
    with pytest.raises(ConfigError) as caught:
        ArrayConfig(**knobs)
    for word in words:
        assert word in str(caught.value)


def test_the_digest_knows_every_knob_but_the_name():
    config = preset("tiny-3")
    assert dataclasses.replace(config, name="other").digest == config.digest
    digests = {config.digest}
    others: list[dict[str, Any]] = [
        {"clusters": 2},
        {"write_buses": 1},
        {"code_depth": 1024},
        {"acc_bits": 15},
        {"requant_lanes": 4},
        {"head_depth": 64},
        {"requant_lanes": 1, "drain_lanes": 1},
        {"one_port_code": 1},
        {"requant_lanes": 1, "drain_lanes": 1, "slow_clock": 1},
    ]
    for knobs in others:
        digests.add(dataclasses.replace(config, **knobs).digest)
    assert len(digests) == 10


def test_later_knobs_leave_earlier_digests_alone():
    config = preset("tiny-3")
    assert config.digest == "ce29adf49c74e953a3f8ded949051ba4"
    for knob, value in (("head_depth", 64), ("requant_lanes", 4), ("one_port_code", 1)):
        assert knob not in config.as_dict()
        assert ArrayConfig.from_dict(config.as_dict()) == config
        other = ArrayConfig.from_dict(config.as_dict() | {knob: value})
        assert other.as_dict()[knob] == value
        assert ArrayConfig.from_dict(other.as_dict()) == other


@pytest.mark.parametrize("lanes", [8, 16, 64, 128])
@pytest.mark.parametrize("buses", [1, 2, 4, 8])
def test_buses_share_the_groups(lanes, buses):
    if buses > lanes // 8:
        with pytest.raises(ConfigError):
            ArrayConfig(lanes=lanes, write_buses=buses)
        return
    config = ArrayConfig(lanes=lanes, write_buses=buses)
    served = [config.bus_of(group) for group in range(config.groups)]
    assert set(Counter(served).values()) == {config.groups // buses}
    # Each run of groups has every bus, and half a vector apart it is another one.
    for first in range(0, config.groups, buses):
        assert sorted(served[first : first + buses]) == list(range(buses))
    if 1 < buses < config.groups:
        assert served[0] != served[buses]


def test_the_largest_array_has_segments_and_entries_of_one_word():
    config = ArrayConfig(
        clusters=16, lanes=128, write_buses=8, act_depth=4096, code_depth=65536, table_depth=8192
    )
    assert segment_layout(config).words == 1
    assert scatter_layout(config).words == 1
