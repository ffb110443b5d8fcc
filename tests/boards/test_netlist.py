"""Mapped designs, made of the cells' models: what has none is refused, and block RAMs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from plum_hw.boards.board import ECP5, GOWIN, XC7, Family
from plum_hw.errors import BuildError
from plum_hw.flow.mapped import mapped_verilog

#: A memory of `width` bits a word, 2**`rows` words, and what is done at either port.
MEMORY = """
module {name}(
  input clk, input on_a, input on_b, input [3:0] write_a, input [3:0] write_b, input clear,
  input [15:0] row_a, input [15:0] row_b, input [71:0] in_a, input [71:0] in_b,
  output reg [71:0] out_a, output reg [71:0] out_b
);
  (* ram_style = "block" *) reg [{width}-1:0] words [0:(1<<{rows})-1];
  wire [{rows}-1:0] at_a = row_a, at_b = row_b;
  integer i;
  initial begin
    {begin_}
    out_a = 0;
    out_b = 0;
  end
  always @(posedge clk) if (on_a) begin {a} end
  always @(posedge clk) if (on_b) begin {b} end
endmodule
"""
READS = "out_{0} <= words[at_{0}]; "
WRITES = "if (write_{0}[0]) words[at_{0}] <= in_{0}; "
THROUGH = "if (write_{0}[0]) out_{0} <= in_{0}; "
STILL = "if (write_{0}[0]) words[at_{0}] <= in_{0}; else " + READS
BYTES = "for (i = 0; i < 4; i = i + 1) if (write_{0}[i]) words[at_{0}][9*i+:9] <= in_{0}[9*i+:9]; "
CLEARED = READS + "if (clear) out_{0} <= 0; "
#: Width, rows, ports; and the cells that come of them, with a parameter.
MEMORIES = {
    "wide": (72, 9, READS, WRITES),
    "half": (36, 9, WRITES, READS),
    "cleared": (36, 9, WRITES, CLEARED),
    "bytes": (36, 10, READS + BYTES, READS),
    "both": (18, 10, READS + WRITES, READS + WRITES),
    "through": (9, 12, READS + WRITES + THROUGH, READS),
    "still": (36, 10, STILL, STILL),
    "nibble": (4, 12, READS + WRITES, ""),
    "single": (1, 14, READS + WRITES, READS),
}
#: Those that the block RAM of each family can be, and the least number of blocks by type. Of ECP5's
#: a reset has no model, nor what is read from a word as it is written.
KINDS: dict[Family, tuple[list[str], dict[str, int]]] = {
    XC7: (list(MEMORIES), {"RAMB18E1": 5, "RAMB36E1": 3}),
    ECP5: (["wide", "half", "single"], {"DP16KD": 4}),
}
TOP = """
module {top}(
  input clk, input on_a, input on_b, input [3:0] write_a, input [3:0] write_b, input clear,
  input [15:0] row_a, input [15:0] row_b, input [71:0] in_a, input [71:0] in_b,
  output [71:0] {outputs}
);
  {memories}
endmodule
"""
PORTS = (
    ".clk(clk), .on_a(on_a), .on_b(on_b), .write_a(write_a), .write_b(write_b), .clear(clear), "
    ".row_a(row_a), .row_b(row_b), .in_b(in_b)"
)
#: Random traffic on eight words; they are not written by both at once, or, where what is read then
#: is undefined, by one while the other may read. With +fault the mapped memories are once given
#: another bit.
BENCH = """
module bench;
  reg clk = 0;
  reg on_a, on_b, clear;
  reg [3:0] write_a, write_b;
  reg [15:0] row_a, row_b;
  reg [71:0] in_a, in_b;
  wire [71:0] {wires};
  integer cycle, seed = 7;
  reg fault = 0;
  dut dut({ports}, .in_a(in_a ^ fault), {mapped});
  rtl rtl({ports}, .in_a(in_a), {written});
  initial begin
    for (cycle = 0; cycle < 1000; cycle = cycle + 1) begin
      fault = $test$plusargs("fault") && cycle == 500;
      {{on_a, on_b, clear, write_a, write_b}} = $random(seed);
      in_a = {{$random(seed), $random(seed), $random(seed)}};
      in_b = {{$random(seed), $random(seed), $random(seed)}};
      row_a = {{16{{seed[20]}}}} ^ seed[19:18];
      row_b = {{16{{seed[17]}}}} ^ seed[16:15];
      if (row_a == row_b) {apart} = 0;
      if (fault) {{on_a, write_a, row_a}} = {{5'h1f, 16'd0}};
      #5 clk = 1;
      #5 clk = 0;
      {checks}
    end
    $display("end");
  end
endmodule
"""


#: What a block RAM does anyway, and synthesis takes long over.
ZEROS = "for (i = 0; i < 1 << {rows}; i = i + 1) words[i] = 0;"


def outputs(names: list[str]) -> list[str]:
    return [f"{name}_{port}" for name in names for port in "ab"]


def memories(names: list[str], top: str, prefix: str, begin: str = "") -> str:
    """Verilog of memories beside each other; `begin`: with their words."""
    texts, instances = [], []
    for name in names:
        width, rows, a, b = MEMORIES[name]
        ports = {"a": a.format("a"), "b": b.format("b"), "begin_": begin.format(rows=rows)}
        texts.append(MEMORY.format(name=prefix + name, width=width, rows=rows, **ports))
        out = f".out_a({name}_a), .out_b({name}_b)"
        instances.append(f"{prefix}{name} {name}({PORTS}, .in_a(in_a), {out});")
    lines = {"outputs": ", ".join(outputs(names)), "memories": "\n  ".join(instances)}
    return "".join([*texts, TOP.format(top=top, **lines)])


def bench(family: Family) -> str:
    """The bench's Verilog."""
    names, _ = KINDS[family]
    check = 'if (m_{0} !== r_{0}) $display("cycle %0d: {0} %h, not %h", cycle, m_{0}, r_{0});'
    return BENCH.format(
        ports=PORTS,
        apart="write_b" if family is XC7 else "{write_a, write_b}",
        wires=", ".join(f"{side}_{name}" for side in "mr" for name in outputs(names)),
        mapped=", ".join(f".{name}(m_{name})" for name in outputs(names)),
        written=", ".join(f".{name}(r_{name})" for name in outputs(names)),
        checks="\n      ".join(check.format(name) for name in outputs(names)),
    )


@pytest.mark.parametrize("family", KINDS, ids=lambda family: family.name)
def test_block_rams_do_what_was_written(tmp_path: Path, family: Family) -> None:
    """Of every width and way to write; what Yosys has mapped against the text that it mapped."""
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog (iverilog) is not on PATH; netlists are simulated by it")
    names, least = KINDS[family]
    mapped, cells = mapped_verilog(memories(names, "dut", "m_"), "dut", family)
    assert all(cells[kind] >= number for kind, number in least.items()), cells
    (tmp_path / "bench.v").write_text(mapped + memories(names, "rtl", "r_", ZEROS) + bench(family))

    def run(*command: str) -> list[str]:
        result = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=600
        )
        return result.stdout.splitlines()

    run("iverilog", "-g2012", "-s", "bench", "-o", "sim", "bench.v")
    assert run("vvp", "-n", "sim") == ["end"]
    assert any("half_b" in line for line in run("vvp", "-n", "sim", "+fault"))


def test_what_has_no_model_is_refused() -> None:
    with pytest.raises(BuildError, match="of AMD 7 series and Lattice ECP5, not of Gowin"):
        mapped_verilog(memories(["half"], "dut", "m_"), "dut", GOWIN)
