"""Flip-flops taken into ECP5's blocks: which, and that the netlist does what was written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from plum_hw.boards.board import ECP5
from plum_hw.flow.mapped import mapped_verilog

#: Memories and multipliers with registers behind them: those that a block has itself, and others.
DESIGN = """
module {name}(
  input clk, input on, input clear, input write, input [8:0] row, input [8:0] at, input [35:0] in,
  output reg [35:0] plain = 0, output reg [17:0] held = 0, output reg [17:0] cleared = 0,
  output reg [17:0] shared = 0, output [17:0] bare, output reg [35:0] product = 0,
  output reg [35:0] total = 0
);
  (* ram_style = "block", no_rw_check *) reg [35:0] wide [0:511];
  (* ram_style = "block", no_rw_check *) reg [17:0] other [0:1023];
  reg [35:0] word = 0;
  reg [17:0] late = 0, next = 0;
  integer i;
  initial begin
    {begin_}
  end
  assign bare = next;
  always @(posedge clk) begin
    if (write) wide[row] <= in;
    if (write) other[row] <= in;
    word <= wide[at];
    plain <= word;
    if (on) late <= other[at];
    if (on) held <= late;
    next <= other[~at];
    shared <= next;
    cleared <= clear ? 0 : next;
    product <= $signed(in[17:0]) * $signed(in[35:18]);
    total <= clear ? 0 : $signed(in[17:0]) * $signed(in[26:9]);
  end
endmodule
"""
INPUTS = ("clk", "on", "clear", "write", "row", "at", "in")
OUTPUTS = ("plain", "held", "cleared", "shared", "bare", "product", "total")
BENCH = """
module bench;
  reg clk = 0, on, clear, write;
  reg [8:0] row, at;
  reg [35:0] in;
  integer cycle, seed = 5;
  {wires}
  dut dut({ports}, {mapped});
  rtl rtl({ports}, {written});
  initial begin
    for (cycle = 0; cycle < 2000; cycle = cycle + 1) begin
      {{on, clear, write}} = $random(seed);
      in = {{$random(seed), $random(seed)}};
      row = $random(seed);
      at = $random(seed);
      row = row & 9'h103;
      at = at & 9'h103;
      if (row == at | row == ~at) write = 0;
      #5;
      {checks}
      clk = 1;
      #5 clk = 0;
    end
    $display("end");
  end
endmodule
"""
ZEROS = (
    "for (i = 0; i < 512; i = i + 1) wide[i] = 0; for (i = 0; i < 1024; i = i + 1) other[i] = 0;"
)


def bench() -> str:
    check = 'if (m_{0} !== r_{0}) $display("cycle %0d: {0} %h, not %h", cycle, m_{0}, r_{0});'
    return BENCH.format(
        wires="\n  ".join(f"wire [35:0] {side}_{name};" for side in "mr" for name in OUTPUTS),
        ports=", ".join(f".{name}({name})" for name in INPUTS),
        mapped=", ".join(f".{name}(m_{name})" for name in OUTPUTS),
        written=", ".join(f".{name}(r_{name})" for name in OUTPUTS),
        checks="\n      ".join(check.format(name) for name in OUTPUTS),
    )


def simulate(folder: Path, mapped: str) -> list[str]:
    """What the bench says of a mapped design beside the design."""
    (folder / "bench.v").write_text(mapped + DESIGN.format(name="rtl", begin_=ZEROS) + bench())
    for command in (["iverilog", "-g2012", "-s", "bench", "-o", "sim", "bench.v"], ["vvp", "sim"]):
        said = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True, timeout=300
        ).stdout
    return said.splitlines()


def test_blocks_take_registers_that_they_have(tmp_path: Path) -> None:
    """`plain` and `held` with an enable, `product`; none with a reset or from a shared word."""
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog (iverilog) is not on PATH; netlists are simulated by it")
    mapped, cells = mapped_verilog(DESIGN.format(name="dut", begin_=""), "dut", ECP5)
    design = mapped.split("\nendmodule")[0]
    assert design.count('"OUTREG"') == 3  # both ports of the wide memory
    assert design.count('"CLK0"') == 1
    assert cells["TRELLIS_FF"] == sum((18, 18, 36)), "cleared, shared and total"
    assert simulate(tmp_path, mapped) == ["end"]


def test_block_with_a_reset_takes_none() -> None:
    """Its register would be reset as well, a cycle too early."""
    design = """
module dut(input clk, input clear, input write, input [8:0] row, input [8:0] at, input [35:0] in,
           output reg [35:0] late);
  (* ram_style = "block", no_rw_check *) reg [35:0] words [0:511];
  reg [35:0] word;
  always @(posedge clk) begin
    if (write) words[row] <= in;
    word <= clear ? 0 : words[at];
    late <= word;
  end
endmodule
"""
    mapped, cells = mapped_verilog(design, "dut", ECP5)
    assert cells["DP16KD"] == 1
    assert '"OUTREG"' not in mapped.split("\nendmodule")[0]
    assert cells["TRELLIS_FF"] == 36


@pytest.mark.parametrize("mode", ["OUTREG", "CLK0"])
def test_registers_are_missed(tmp_path: Path, mode: str) -> None:
    """What the bench says where a block does not use its register."""
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog (iverilog) is not on PATH; netlists are simulated by it")
    mapped, _ = mapped_verilog(DESIGN.format(name="dut", begin_=""), "dut", ECP5)
    design, models = mapped.split("\nendmodule", 1)
    design = design.replace(f'"{mode}"', '"NOREG"' if mode == "OUTREG" else '"NONE"')
    said = simulate(tmp_path, f"{design}\nendmodule{models}")
    names = {line.split()[2] for line in said[:-1]}
    assert names == ({"plain", "held"} if mode == "OUTREG" else {"product"})
