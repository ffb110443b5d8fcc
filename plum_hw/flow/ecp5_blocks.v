// Block RAM and multipliers of ECP5, for simulation of mapped designs: Yosys has no models of them.
//
// As far as synthesis and `plum_hw.flow.registers` use them: both ports of one width, all words 0
// after configuration, no reset (outputs are unknown while it is given), a multiplier with no
// register but that of its product. Whatever else they can do is refused, by a module that does not
// exist.
// Ref: Lattice FPGA-TN-02204 (memory), FPGA-TN-02205 (sysDSP).

// One port of a memory: the word that it reads, in the latch, or a cycle later in the register.
module plum_ecp5_output #(parameter WIDTH = 18, parameter MODE = "NOREG") (
  input clock, input read, input enable, input reset, input [WIDTH-1:0] word,
  output [WIDTH-1:0] out
);
  reg [WIDTH-1:0] latch = 0, register = 0;
  always @(posedge clock) begin
    if (read) latch <= word;
    if (enable) register <= latch;
  end
  assign out = reset ? {WIDTH{1'bx}} : MODE == "OUTREG" ? register : latch;
endmodule

// A word that is read as the other port writes it is undefined: here it comes inverted, so that
// nobody takes it for right.
module DP16KD #(
  parameter DATA_WIDTH_A = 18, parameter DATA_WIDTH_B = 18,
  parameter REGMODE_A = "NOREG", parameter REGMODE_B = "NOREG",
  parameter WRITEMODE_A = "NORMAL", parameter WRITEMODE_B = "NORMAL",
  parameter CLKAMUX = "CLKA", parameter CLKBMUX = "CLKB",
  parameter CSDECODE_A = "0b000", parameter CSDECODE_B = "0b000",
  parameter RESETMODE = "SYNC", parameter ASYNC_RESET_RELEASE = "SYNC", parameter GSR = "DISABLED"
) (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
  input DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input CEA, OCEA, CLKA, WEA, CSA2, CSA1, CSA0, RSTA,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
  input DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CEB, OCEB, CLKB, WEB, CSB2, CSB1, CSB0, RSTB,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9,
  output DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9,
  output DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
  localparam WIDTH = DATA_WIDTH_B;
  // Port A only writes and port B only reads; the halves are on the pins of A and B both ways.
  localparam WIDE = WIDTH == 36;
  localparam ROW = WIDTH == 36 ? 5 : WIDTH == 18 ? 4 : WIDTH == 9 ? 3 : WIDTH == 4 ? 2 : WIDTH == 2;
  localparam LANES = WIDTH < 18 ? 1 : WIDTH / 9;  // each with a write enable
  localparam SIZE = WIDTH / LANES;
  generate
    if (DATA_WIDTH_A != DATA_WIDTH_B | (WIDE & REGMODE_A != REGMODE_B) | CLKAMUX != "CLKA" |
        CLKBMUX != "CLKB" | CSDECODE_A != "0b000" | CSDECODE_B != "0b000" |
        (WRITEMODE_A == "WRITETHROUGH") | (WRITEMODE_B == "WRITETHROUGH"))
      block_ram_with_a_mode_that_has_no_model refused();
  endgenerate

  wire [13:0] at_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2,
                      ADA1, ADA0};
  wire [13:0] at_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2,
                      ADB1, ADB0};
  wire [17:0] half_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
                        DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] half_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
                        DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
  wire [35:0] in_a = {half_b, half_a}, in_b = {18'b0, half_b};
  wire [13:ROW] row_a = at_a[13:ROW], row_b = at_b[13:ROW];
  wire [LANES-1:0] lanes_a = LANES > 1 ? at_a[3:0] : 1, lanes_b = LANES > 1 ? at_b[3:0] : 1;
  wire on_a = CEA & ~(CSA2 | CSA1 | CSA0), on_b = CEB & ~(CSB2 | CSB1 | CSB0);
  wire write_a = on_a & WEA & |lanes_a, write_b = on_b & WEB & |lanes_b & ~WIDE;
  wire lost_a = write_b & row_a == row_b, lost_b = write_a & row_a == row_b;

  reg [WIDTH-1:0] words [0:(1<<(14-ROW))-1];
  integer row, a, b;
  initial for (row = 0; row < 1 << (14 - ROW); row = row + 1) words[row] = 0;
  always @(posedge CLKA)
    if (write_a)
      for (a = 0; a < LANES; a = a + 1)
        if (lanes_a[a]) words[row_a][SIZE*a+:SIZE] <= in_a[SIZE*a+:SIZE];
  always @(posedge CLKB)
    if (write_b)
      for (b = 0; b < LANES; b = b + 1)
        if (lanes_b[b]) words[row_b][SIZE*b+:SIZE] <= in_b[SIZE*b+:SIZE];

  wire [WIDTH-1:0] out_a, out_b;
  plum_ecp5_output #(.WIDTH(WIDTH), .MODE(REGMODE_A)) port_a (
    .clock(CLKA), .read(on_a & (~WEA | WRITEMODE_A == "READBEFOREWRITE")), .enable(OCEA), .reset(RSTA),
    .word(words[row_a] ^ {WIDTH{lost_a}}), .out(out_a)
  );
  plum_ecp5_output #(.WIDTH(WIDTH), .MODE(REGMODE_B)) port_b (
    .clock(CLKB), .read(on_b & (~WEB | WRITEMODE_B == "READBEFOREWRITE")), .enable(OCEB), .reset(RSTB),
    .word(words[row_b] ^ {WIDTH{lost_b}}), .out(out_b)
  );
  wire [35:0] wide_a = out_a, wide_b = out_b;
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
          DOA4, DOA3, DOA2, DOA1, DOA0} = WIDE ? wide_b[17:0] : wide_a[17:0];
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
          DOB4, DOB3, DOB2, DOB1, DOB0} = WIDE ? wide_b[35:18] : wide_b[17:0];
endmodule

module MULT18X18D #(
  parameter REG_OUTPUT_CLK = "NONE", parameter REG_OUTPUT_CE = "CE0",
  parameter REG_OUTPUT_RST = "RST0"
) (
  input A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
  input B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
  input C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13, C14, C15, C16, C17,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
  output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17,
  output P18, P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);
  wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  wire signed [18:0] wide_a = {SIGNEDA & a[17], a}, wide_b = {SIGNEDB & b[17], b};
  wire signed [37:0] product = wide_a * wide_b;
  reg [35:0] register = 0;
  always @(posedge CLK0) if (RST0) register <= 0; else if (CE0) register <= product[35:0];
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
          P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} =
         REG_OUTPUT_CLK == "NONE" ? product[35:0] : register;
endmodule
