"""LUTs in front of Gowin flip-flops: where they are put, and a netlist that is proved equal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plum_hw.flow.slices import give_luts
from tests.yosys import yosys

#: Flip-flops behind an input (4), one another (8), a LUT of their own (4), one that drives more (1)
#: and an adder (6).
REGISTERS = """
module top(input clk, input go, input [3:0] x, input [3:0] y, output reg [3:0] late,
           output reg [3:0] both, output reg odd, output early, output reg [5:0] sum);
    reg [3:0] first, second;
    wire any = ^x ^ y[0];
    assign early = any;
    always @(posedge clk) begin
        first <= x;
        second <= first;
        if (go) late <= second;
        both <= x & y;
        odd <= any;
        sum <= sum + {2'b0, y};
    end
endmodule
"""


@pytest.fixture(scope="module")
def netlist(tmp_path_factory) -> tuple[Path, str]:
    """A folder with the mapped registers, `before.json`; and the text of it."""
    folder = tmp_path_factory.mktemp("slices")
    (folder / "registers.v").write_text(REGISTERS)
    yosys(
        folder, "read_verilog registers.v; synth_gowin -noiopads -top top; write_json before.json"
    )
    return folder, (folder / "before.json").read_text()


def proof(folder: Path, before: dict, after: dict) -> str:
    """What Yosys says of both netlists, register by register."""
    tops = {"before": before["modules"]["top"], "after": after["modules"]["top"]}
    for top in tops.values():
        del top["attributes"]["top"]  # or all but one would go
    (folder / "both.json").write_text(json.dumps({"modules": tops}))
    return yosys(
        folder,
        "read_json both.json; read_verilog +/gowin/cells_sim.v; hierarchy; proc; "
        "flatten before after; equiv_make before after both; hierarchy -top both; opt_clean; "
        "equiv_simple; equiv_status -assert",
    )


def test_flip_flops_alone_get_a_lut(netlist) -> None:
    folder, text = netlist
    before, after = json.loads(text), json.loads(text)
    top = after["modules"]["top"]
    assert give_luts(top) == 4 + 4 + 4 + 1
    added = set(top["cells"]) - set(before["modules"]["top"]["cells"])
    drives = {top["cells"][name]["connections"]["F"][0] for name in added}
    fed = {
        cell["connections"]["D"][0]: name
        for name, cell in top["cells"].items()
        if cell["type"].startswith("DFF")
    }
    # One each, and none before the sums or what has a LUT of its own.
    assert drives <= set(fed)
    spared = {name for bit, name in fed.items() if bit not in drives}
    signals = {
        signal
        for signal in ("sum", "both")
        for bit in top["netnames"][signal]["bits"]
        for name in spared
        if top["cells"][name]["connections"]["Q"] == [bit]
    }
    assert (len(spared), signals) == (6 + 4, {"sum", "both"})
    assert give_luts(top) == 0
    said = proof(folder, before, after)
    assert "Equivalence successfully proven!" in said, said[-2000:]


def test_proof_finds_a_wrong_lut(netlist) -> None:
    folder, text = netlist
    before, after = json.loads(text), json.loads(text)
    top = after["modules"]["top"]
    give_luts(top)
    added = set(top["cells"]) - set(before["modules"]["top"]["cells"])
    top["cells"][min(added)]["parameters"]["INIT"] = "01"
    said = proof(folder, before, after)
    assert "Equivalence successfully proven!" not in said
    assert "Found 1 unproven $equiv cells" in said, said[-2000:]
