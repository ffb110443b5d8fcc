"""A board's top for simulation: bits at its pins, behind the ports of the bare accelerator.

The wrapper has the accelerator's ports, so that whatever drives that one drives a board; between
them are a serial port of its own, written apart from the gateware's, and the board's pins, buffers,
clock tree and reset. Vendor primitives are those of `models.v`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plum_hw.boards.board import Board
from plum_hw.boards.project import make_project
from plum_hw.config import ArrayConfig

MODELS = Path(__file__).with_name("models.v")

_WRAPPER = """
module {name}(
  input clk, input rst, input [7:0] rx_payload, input rx_valid, output rx_ready,
  output reg [7:0] tx_payload, output reg tx_valid, input tx_ready, output busy, output idle
);
  // Bytes to bits: a frame of start bit, eight bits from the lowest up, stop bit.
  reg [8:0] frame;
  reg [3:0] left;
  integer wait_;
  wire line_in = frame[0];
  assign rx_ready = left == 0;
  always @(posedge clk)
    if (rst) begin frame <= 9'h1ff; left <= 0; wait_ <= 0; end
    else if (left == 0) begin
      if (rx_valid) begin frame <= {{rx_payload, 1'b0}}; left <= 10; wait_ <= {divisor} - 1; end
    end
    else if (wait_ != 0) wait_ <= wait_ - 1;
    else begin frame <= {{1'b1, frame[8:1]}}; left <= left - 1; wait_ <= {divisor} - 1; end

  // Bits to bytes, each bit at its middle. There is no flow control on a line.
  wire line_out;
  reg [7:0] bits;
  reg [3:0] got;
  integer count;
  always @(posedge clk) begin
    if (tx_ready) tx_valid <= 0;
    if (rst) begin got <= 0; count <= -1; tx_valid <= 0; end
    else if (got == 0) begin
      if (line_out) count <= -1;
      else if (count < 0) count <= {divisor} / 2 - 1;
      else if (count == 0) begin got <= 1; count <= {divisor} - 1; end
      else count <= count - 1;
    end
    else if (count != 0) count <= count - 1;
    else if (got == 9) begin
      if (line_out) begin tx_payload <= bits; tx_valid <= 1; end
      got <= 0; count <= -1;
    end
    else begin bits <= {{line_out, bits[7:1]}}; got <= got + 1; count <= {divisor} - 1; end
  end

  wire light, oscillator, released;
  assign oscillator = clk;
  assign released = {released};
  assign busy = {light} | (left != 0) | (got != 0) | (count >= 0);
  assign idle = ~busy;
  plum board({pins});
endmodule
"""


_MII_WRAPPER = """
module {name}(
  input clk, input rst, input mii_clk, input mii_rx_dv, input [3:0] mii_rx_data,
  output mii_tx_en, output [3:0] mii_tx_data, output busy, output idle
);
  wire light, oscillator, released;
  assign oscillator = clk;
  assign released = {released};
  assign busy = {light};
  assign idle = ~busy;
  plum board({pins});
endmodule
"""


def simulation_verilog(board: Board, config: ArrayConfig, name: str) -> str:
    """Verilog of the board's top and of a wrapper `name` with the accelerator's ports and the busy
    light; of a board with `ethernet` with an MII in place of the streams. `rst` is the wrapper's
    own; the board starts as after configuration.
    """
    platform = board.make_platform()
    files = make_project(board, config, "plum", debug=True)
    tops = ("plum.v", "plum.debug.v")
    texts = [text for file, text in files.items() if file.endswith(".v") and file not in tops]
    texts += [files["plum.debug.v"], MODELS.read_text()]
    # Wires of their own: some families' pins go both ways.
    pins = {f"{platform.default_clk}_0__io": "oscillator"}
    if board.ethernet is None or board.mii is None:
        wrapper = _WRAPPER
        pins |= {"uart_0__rx__io": "line_in", "uart_0__tx__io": "line_out"}
    else:
        wrapper = _MII_WRAPPER
        pins |= {f"{board.mii.pins}_0__{pin}__io": wire for pin, wire in _MII_PINS.items()}
    if board.leds:
        lamp, number = board.leds[0]
        pins[f"{lamp}_{number}__io"] = "light"
    released = "1'b0"
    if board.reset is not None:
        button, number = board.reset
        pins[f"{button}_{number}__io"] = "released"
        released = f"1'b{int(_inverted(platform, button, number))}"
    lit = "1'b0"
    if board.leds:
        lit = "~light" if _inverted(platform, *board.leds[0]) else "light"
    text = wrapper.format(
        name=name,
        divisor=round(board.clock_hz / board.baud),
        light=lit,
        released=released,
        pins=", ".join(f".{pin}({wire})" for pin, wire in pins.items()),
    )
    return "\n".join([*texts, text])


_MII_PINS = {
    "rx_clk": "mii_clk",
    "rx_dv": "mii_rx_dv",
    "rx_er": "1'b0",
    "rx_data": "mii_rx_data",
    "tx_clk": "mii_clk",
    "tx_en": "mii_tx_en",
    "tx_data": "mii_tx_data",
}


def _inverted(platform: Any, name: str, number: int) -> bool:
    """Whether a resource of one pin is active low."""
    return bool(platform.lookup(name, number).ios[0].invert)
