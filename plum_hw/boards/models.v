// Models of the vendors' primitives at a board's pins, for simulation of a board's top.
//
// A PLL's output is its input: who simulates drives the oscillator's pin at the array's rate.

module IB(input I, output O);
  assign O = I;
endmodule

module OB(input I, output O);
  assign O = I;
endmodule

module OBZ(input I, input T, output O);
  assign O = T ? 1'bz : I;
endmodule

module IBUF(input I, output O);
  assign O = I;
endmodule

module OBUF(input I, output O);
  assign O = I;
endmodule

module OBUFT(input I, input T, output O);
  assign O = T ? 1'bz : I;
endmodule

module TBUF(input I, input OEN, output O);
  assign O = OEN ? 1'bz : I;
endmodule

// Locks after a while, as the real ones do: until then the array is to be held in reset.
module pll_model(input reference, output clock, output reg locked);
  reg [4:0] count;
  initial begin
    count = 0;
    locked = 0;
  end
  always @(posedge reference)
    if (&count) locked <= 1;
    else count <= count + 1;
  assign clock = reference;
endmodule

module EHXPLLL #(
  parameter PLLRST_ENA = "", parameter INTFB_WAKE = "", parameter STDBY_ENABLE = "",
  parameter DPHASE_SOURCE = "", parameter FEEDBK_PATH = "", parameter CLKI_DIV = 1,
  parameter CLKFB_DIV = 1, parameter CLKOP_ENABLE = "", parameter CLKOP_DIV = 1,
  parameter CLKOP_CPHASE = 0, parameter CLKOP_FPHASE = 0, parameter CLKOS_ENABLE = "",
  parameter CLKOS_DIV = 1, parameter CLKOS_CPHASE = 0, parameter CLKOS_FPHASE = 0,
  parameter OUTDIVIDER_MUXA = "", parameter OUTDIVIDER_MUXB = ""
) (
  input CLKI, input CLKFB, input RST, input STDBY, input PHASESEL0, input PHASESEL1,
  input PHASEDIR, input PHASESTEP, input PHASELOADREG, input PLLWAKESYNC, input ENCLKOP,
  input ENCLKOS, output CLKOP, output CLKOS, output LOCK
);
  pll_model pll(.reference(CLKI), .clock(CLKOS), .locked(LOCK));
  assign CLKOP = 0;
endmodule

module SB_PLL40_PAD #(
  parameter FEEDBACK_PATH = "", parameter PLLOUT_SELECT = "", parameter [3:0] DIVR = 0,
  parameter [6:0] DIVF = 0, parameter [2:0] DIVQ = 0, parameter [2:0] FILTER_RANGE = 0
) (
  input PACKAGEPIN, input RESETB, input BYPASS, output PLLOUTGLOBAL, output LOCK
);
  pll_model pll(.reference(PACKAGEPIN), .clock(PLLOUTGLOBAL), .locked(LOCK));
endmodule

module rPLL #(
  parameter DEVICE = "", parameter FCLKIN = "", parameter IDIV_SEL = 0, parameter FBDIV_SEL = 0,
  parameter ODIV_SEL = 8, parameter DYN_IDIV_SEL = "", parameter DYN_FBDIV_SEL = "",
  parameter DYN_ODIV_SEL = "", parameter PSDA_SEL = "", parameter DUTYDA_SEL = "",
  parameter DYN_DA_EN = "", parameter CLKOUT_FT_DIR = 1, parameter CLKOUTP_FT_DIR = 1,
  parameter CLKOUT_DLY_STEP = 0, parameter CLKOUTP_DLY_STEP = 0, parameter CLKFB_SEL = "",
  parameter CLKOUT_BYPASS = "", parameter CLKOUTP_BYPASS = "", parameter CLKOUTD_BYPASS = "",
  parameter CLKOUTD_SRC = "", parameter CLKOUTD3_SRC = "", parameter DYN_SDIV_SEL = 2
) (
  input CLKIN, input CLKFB, input RESET, input RESET_P, input [5:0] FBDSEL, input [5:0] IDSEL,
  input [5:0] ODSEL, input [3:0] PSDA, input [3:0] DUTYDA, input [3:0] FDLY, output CLKOUT,
  output LOCK
);
  pll_model pll(.reference(CLKIN), .clock(CLKOUT), .locked(LOCK));
endmodule

// Simple input or output, as PIN_TYPE says. Ref: Lattice FPGA-TN-02026 (iCE40 technology library).
module SB_IO #(parameter [5:0] PIN_TYPE = 0, parameter PULLUP = 0, parameter IO_STANDARD = "") (
  inout PACKAGE_PIN, input D_OUT_0, input OUTPUT_ENABLE, output D_IN_0
);
  generate
    if (PIN_TYPE[5:2] == 4'b0110) assign PACKAGE_PIN = D_OUT_0;
    if (PIN_TYPE[5:2] == 4'b1010) assign PACKAGE_PIN = OUTPUT_ENABLE ? D_OUT_0 : 1'bz;
  endgenerate
  assign D_IN_0 = PACKAGE_PIN;
endmodule

// An input to the clock network.
module SB_GB_IO #(parameter [5:0] PIN_TYPE = 0, parameter IO_STANDARD = "") (
  input PACKAGE_PIN, output GLOBAL_BUFFER_OUTPUT
);
  assign GLOBAL_BUFFER_OUTPUT = PACKAGE_PIN;
endmodule

// The 7 series: end of configuration, and the clock buffer that waits for it.
module STARTUPE2(output EOS);
  assign EOS = 1;
endmodule

module BUFGCTRL #(parameter SIM_DEVICE = "") (
  input I0, input I1, input S0, input S1, input CE0, input CE1, input IGNORE0, input IGNORE1,
  output O
);
  assign O = I0;
endmodule

module FDPE #(parameter INIT = 1) (input C, input CE, input PRE, input D, output reg Q);
  initial Q = INIT;
  always @(posedge C or posedge PRE)
    if (PRE) Q <= 1;
    else if (CE) Q <= D;
endmodule
