"""The Verilog that is emitted: once for all clusters, and the same every time."""

import re

import pytest

from plum_hw.presets import preset
from plum_hw.virtual import emit_verilog


@pytest.mark.parametrize("name", ["tiny", "tiny-3"])
def test_a_cluster_is_one_module_with_an_instance_for_each(name):
    config = preset(name)
    text = emit_verilog(config)
    modules = re.findall(r"^module (\S+?)[ (;]", text, re.MULTILINE)
    assert len(modules) == len(set(modules))
    assert modules.count("plum_cluster") == 1
    instances = re.findall(r"^ +plum_cluster +(\S+) \(", text, re.MULTILINE)
    assert sorted(instances) == [f"cluster_{number}" for number in range(config.clusters)]
    assert emit_verilog(config) == text
