// Block RAMs of the 7 series, for simulation of mapped designs: Yosys's models have no content.
//
// As far as synthesis uses them: all ports of one width, no output registers, no cascade, no error
// correction, and all words 0 after configuration. Whatever else they can do is refused, by a
// module that does not exist. Ref: AMD UG473, chapter 1.

// WIDTH bits in a word, of them the upper PARITY a ninth bit of each byte; `write` has a bit for
// each byte. A word that is read as the other port writes it is undefined unless that port reads
// first: here it comes inverted, so that nobody takes it for right.
module plum_words #(
  parameter WIDTH = 9, parameter PARITY = 1, parameter ROWS = 12,
  parameter MODE_A = "", parameter MODE_B = "",
  parameter [WIDTH-1:0] INIT_A = 0, parameter [WIDTH-1:0] INIT_B = 0,
  parameter [WIDTH-1:0] SRVAL_A = 0, parameter [WIDTH-1:0] SRVAL_B = 0
) (
  input clk_a, input on_a, input reset_a, input [ROWS-1:0] row_a, input [7:0] write_a,
  input [WIDTH-1:0] in_a, output reg [WIDTH-1:0] out_a,
  input clk_b, input on_b, input reset_b, input [ROWS-1:0] row_b, input [7:0] write_b,
  input [WIDTH-1:0] in_b, output reg [WIDTH-1:0] out_b
);
  localparam DATA = WIDTH - PARITY;
  localparam BYTES = (DATA + 7) / 8;
  localparam SIZE = DATA < 8 ? DATA : 8;
  localparam NINTH = PARITY == 0 ? 0 : DATA;  // place of the first ninth bit
  reg [WIDTH-1:0] words [0:(1<<ROWS)-1];
  wire writes_a = on_a & |write_a[BYTES-1:0];
  wire writes_b = on_b & |write_b[BYTES-1:0];
  wire lost_a = row_a == row_b & writes_b & MODE_B != "READ_FIRST";
  wire lost_b = row_a == row_b & writes_a & MODE_A != "READ_FIRST";

  integer row, a, b;
  initial begin
    for (row = 0; row < 1 << ROWS; row = row + 1) words[row] = 0;
    out_a = INIT_A;
    out_b = INIT_B;
  end

  always @(posedge clk_a)
    if (on_a) begin
      if (~writes_a | MODE_A != "NO_CHANGE") out_a <= words[row_a] ^ {WIDTH{lost_a}};
      for (a = 0; a < BYTES; a = a + 1)
        if (write_a[a]) begin
          words[row_a][8*a+:SIZE] <= in_a[8*a+:SIZE];
          if (PARITY != 0) words[row_a][NINTH+a] <= in_a[NINTH+a];
          if (MODE_A == "WRITE_FIRST") out_a[8*a+:SIZE] <= in_a[8*a+:SIZE];
          if (PARITY != 0 & MODE_A == "WRITE_FIRST") out_a[NINTH+a] <= in_a[NINTH+a];
        end
      if (reset_a) out_a <= SRVAL_A;
    end

  always @(posedge clk_b)
    if (on_b) begin
      if (~writes_b | MODE_B != "NO_CHANGE") out_b <= words[row_b] ^ {WIDTH{lost_b}};
      for (b = 0; b < BYTES; b = b + 1)
        if (write_b[b]) begin
          words[row_b][8*b+:SIZE] <= in_b[8*b+:SIZE];
          if (PARITY != 0) words[row_b][NINTH+b] <= in_b[NINTH+b];
          if (MODE_B == "WRITE_FIRST") out_b[8*b+:SIZE] <= in_b[8*b+:SIZE];
          if (PARITY != 0 & MODE_B == "WRITE_FIRST") out_b[NINTH+b] <= in_b[NINTH+b];
        end
      if (reset_b) out_b <= SRVAL_B;
    end
endmodule

// Either size. BITS: of the address of a single bit; HALF: data bits of a port, which has a parity
// bit for each eight. SIMPLE: port A only reads and port B only writes, and a word may be twice as
// wide: A's pins then have its lower half.
module plum_block_ram #(
  parameter BITS = 14, parameter HALF = 16, parameter SIMPLE = 0,
  parameter READ_WIDTH_A = 0, parameter READ_WIDTH_B = 0,
  parameter WRITE_WIDTH_A = 0, parameter WRITE_WIDTH_B = 0,
  parameter MODE_A = "WRITE_FIRST", parameter MODE_B = "WRITE_FIRST",
  parameter [35:0] INIT_A = 0, parameter [35:0] INIT_B = 0,
  parameter [35:0] SRVAL_A = 0, parameter [35:0] SRVAL_B = 0
) (
  input clk_a, input on_a, input reset_a, input [BITS-1:0] address_a, input [7:0] write_a,
  input [HALF-1:0] data_a, input [HALF/8-1:0] parity_a,
  output [HALF-1:0] read_a, output [HALF/8-1:0] read_parity_a,
  input clk_b, input on_b, input reset_b, input [BITS-1:0] address_b, input [7:0] write_b,
  input [HALF-1:0] data_b, input [HALF/8-1:0] parity_b,
  output [HALF-1:0] read_b, output [HALF/8-1:0] read_parity_b
);
  localparam READS = READ_WIDTH_A > READ_WIDTH_B ? READ_WIDTH_A : READ_WIDTH_B;
  localparam WRITES = WRITE_WIDTH_A > WRITE_WIDTH_B ? WRITE_WIDTH_A : WRITE_WIDTH_B;
  localparam WIDTH = READS > WRITES ? READS : WRITES;
  localparam PARITY = WIDTH / 9;
  localparam DATA = WIDTH - PARITY;
  localparam ROWS = BITS - $clog2(DATA);
  localparam WIDE = DATA > HALF;
  generate
    if ((READ_WIDTH_A != 0 & READ_WIDTH_A != WIDTH) | (READ_WIDTH_B != 0 & READ_WIDTH_B != WIDTH) |
        (WRITE_WIDTH_A != 0 & WRITE_WIDTH_A != WIDTH) |
        (WRITE_WIDTH_B != 0 & WRITE_WIDTH_B != WIDTH) |
        (SIMPLE & (READ_WIDTH_B != 0 | WRITE_WIDTH_A != 0)) |
        (WIDE & (INIT_A != 0 | INIT_B != 0 | SRVAL_A != 0 | SRVAL_B != 0)))
      block_ram_with_ports_that_have_no_model refused();
  endgenerate

  // A word of the narrow kind is on one port's pins, of the wide kind on both.
  wire [71:0] word_a = {56'b0, parity_a} << DATA | data_a & (72'b1 << DATA) - 72'b1;
  wire [71:0] word_b = {56'b0, parity_b} << DATA | data_b & (72'b1 << DATA) - 72'b1;
  wire [71:0] both = {56'b0, parity_b, parity_a} << DATA | {data_b, data_a};
  wire [WIDTH-1:0] out_a, out_b;
  plum_words #(
    .WIDTH(WIDTH), .PARITY(PARITY), .ROWS(ROWS), .MODE_A(MODE_A), .MODE_B(MODE_B),
    .INIT_A(INIT_A), .INIT_B(INIT_B), .SRVAL_A(SRVAL_A), .SRVAL_B(SRVAL_B)
  ) words (
    .clk_a(clk_a), .on_a(on_a), .reset_a(reset_a), .row_a(address_a[BITS-1:BITS-ROWS]),
    .write_a(WRITE_WIDTH_A == 0 ? 8'b0 : write_a), .in_a(word_a[WIDTH-1:0]), .out_a(out_a),
    .clk_b(clk_b), .on_b(on_b), .reset_b(reset_b), .row_b(address_b[BITS-1:BITS-ROWS]),
    .write_b(WRITE_WIDTH_B == 0 ? 8'b0 : write_b),
    .in_b(WIDE ? both[WIDTH-1:0] : word_b[WIDTH-1:0]), .out_b(out_b)
  );
  wire [DATA-1:0] bits_a = out_a[DATA-1:0], bits_b = out_b[DATA-1:0];
  wire [7:0] ninth_a = out_a >> DATA, ninth_b = out_b >> DATA;
  assign read_a = bits_a;
  assign read_parity_a = ninth_a;
  assign read_b = WIDE ? bits_a >> HALF : bits_b;
  assign read_parity_b = WIDE ? ninth_a >> HALF / 8 : ninth_b;
endmodule

module RAMB18E1 #(
  parameter RAM_MODE = "TDP", parameter DOA_REG = 0, parameter DOB_REG = 0,
  parameter READ_WIDTH_A = 0, parameter READ_WIDTH_B = 0,
  parameter WRITE_WIDTH_A = 0, parameter WRITE_WIDTH_B = 0,
  parameter WRITE_MODE_A = "WRITE_FIRST", parameter WRITE_MODE_B = "WRITE_FIRST",
  parameter [35:0] INIT_A = 0, parameter [35:0] INIT_B = 0,
  parameter [35:0] SRVAL_A = 0, parameter [35:0] SRVAL_B = 0
) (
  input CLKARDCLK, input ENARDEN, input RSTRAMARSTRAM, input REGCEAREGCE, input RSTREGARSTREG,
  input [13:0] ADDRARDADDR, input [15:0] DIADI, input [1:0] DIPADIP, input [1:0] WEA,
  output [15:0] DOADO, output [1:0] DOPADOP,
  input CLKBWRCLK, input ENBWREN, input RSTRAMB, input REGCEB, input RSTREGB,
  input [13:0] ADDRBWRADDR, input [15:0] DIBDI, input [1:0] DIPBDIP, input [3:0] WEBWE,
  output [15:0] DOBDO, output [1:0] DOPBDOP
);
  generate
    if (DOA_REG != 0 | DOB_REG != 0) block_ram_with_registers_that_have_no_model refused();
  endgenerate
  plum_block_ram #(
    .BITS(14), .HALF(16), .SIMPLE(RAM_MODE == "SDP"),
    .READ_WIDTH_A(READ_WIDTH_A), .READ_WIDTH_B(READ_WIDTH_B),
    .WRITE_WIDTH_A(WRITE_WIDTH_A), .WRITE_WIDTH_B(WRITE_WIDTH_B),
    .MODE_A(WRITE_MODE_A), .MODE_B(WRITE_MODE_B),
    .INIT_A(INIT_A), .INIT_B(INIT_B), .SRVAL_A(SRVAL_A), .SRVAL_B(SRVAL_B)
  ) ram (
    .clk_a(CLKARDCLK), .on_a(ENARDEN), .reset_a(RSTRAMARSTRAM), .address_a(ADDRARDADDR),
    .write_a({6'b0, WEA}), .data_a(DIADI), .parity_a(DIPADIP),
    .read_a(DOADO), .read_parity_a(DOPADOP),
    .clk_b(CLKBWRCLK), .on_b(ENBWREN), .reset_b(RSTRAMB), .address_b(ADDRBWRADDR),
    .write_b({4'b0, WEBWE}), .data_b(DIBDI), .parity_b(DIPBDIP),
    .read_b(DOBDO), .read_parity_b(DOPBDOP)
  );
endmodule

module RAMB36E1 #(
  parameter RAM_MODE = "TDP", parameter DOA_REG = 0, parameter DOB_REG = 0,
  parameter READ_WIDTH_A = 0, parameter READ_WIDTH_B = 0,
  parameter WRITE_WIDTH_A = 0, parameter WRITE_WIDTH_B = 0,
  parameter WRITE_MODE_A = "WRITE_FIRST", parameter WRITE_MODE_B = "WRITE_FIRST",
  parameter [35:0] INIT_A = 0, parameter [35:0] INIT_B = 0,
  parameter [35:0] SRVAL_A = 0, parameter [35:0] SRVAL_B = 0,
  parameter RAM_EXTENSION_A = "NONE", parameter RAM_EXTENSION_B = "NONE"
) (
  input CLKARDCLK, input ENARDEN, input RSTRAMARSTRAM, input REGCEAREGCE, input RSTREGARSTREG,
  input [15:0] ADDRARDADDR, input [31:0] DIADI, input [3:0] DIPADIP, input [3:0] WEA,
  output [31:0] DOADO, output [3:0] DOPADOP,
  input CLKBWRCLK, input ENBWREN, input RSTRAMB, input REGCEB, input RSTREGB,
  input [15:0] ADDRBWRADDR, input [31:0] DIBDI, input [3:0] DIPBDIP, input [7:0] WEBWE,
  output [31:0] DOBDO, output [3:0] DOPBDOP
);
  generate
    if (DOA_REG != 0 | DOB_REG != 0) block_ram_with_registers_that_have_no_model refused();
    if (RAM_EXTENSION_A != "NONE" | RAM_EXTENSION_B != "NONE")
      block_ram_in_cascade_that_has_no_model refused();
  endgenerate
  plum_block_ram #(
    .BITS(15), .HALF(32), .SIMPLE(RAM_MODE == "SDP"),
    .READ_WIDTH_A(READ_WIDTH_A), .READ_WIDTH_B(READ_WIDTH_B),
    .WRITE_WIDTH_A(WRITE_WIDTH_A), .WRITE_WIDTH_B(WRITE_WIDTH_B),
    .MODE_A(WRITE_MODE_A), .MODE_B(WRITE_MODE_B),
    .INIT_A(INIT_A), .INIT_B(INIT_B), .SRVAL_A(SRVAL_A), .SRVAL_B(SRVAL_B)
  ) ram (
    .clk_a(CLKARDCLK), .on_a(ENARDEN), .reset_a(RSTRAMARSTRAM), .address_a(ADDRARDADDR[14:0]),
    .write_a({4'b0, WEA}), .data_a(DIADI), .parity_a(DIPADIP),
    .read_a(DOADO), .read_parity_a(DOPADOP),
    .clk_b(CLKBWRCLK), .on_b(ENBWREN), .reset_b(RSTRAMB), .address_b(ADDRBWRADDR[14:0]),
    .write_b(WEBWE), .data_b(DIBDI), .parity_b(DIPBDIP),
    .read_b(DOBDO), .read_parity_b(DOPBDOP)
  );
endmodule
