"""What differs between FPGA families: words for the tools, and what a cell costs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from plum_hw.boards.board import Board
from plum_hw.errors import BuildError


@dataclass(frozen=True)
class Resources:
    """LUTs (LUT RAM included), flip-flops, RAMs and DSP blocks, in the family's units."""

    lut: float = 0
    ff: float = 0
    ram: float = 0
    dsp: float = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.lut + other.lut, self.ff + other.ff, self.ram + other.ram, self.dsp + other.dsp
        )

    def times(self, count: int) -> Resources:
        """The resources of `count` instances."""
        return Resources(self.lut * count, self.ff * count, self.ram * count, self.dsp * count)

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


Costs = tuple[tuple[re.Pattern[str], Resources], ...]


def _costs(*rows: tuple[str, Resources]) -> Costs:
    return tuple((re.compile(pattern), cost) for pattern, cost in rows)


_FREE = r"VCC|GND|\$scopeinfo"

#: Cost of each cell, by pattern of its name.
CELLS: dict[str, Costs] = {
    # LUT RAM and shift registers take LUT sites. Carry chains and wide multiplexers sit beside the
    # LUTs; pads and clock buffers are free. Ref: AMD UG474, UG473, UG479.
    "xc7": _costs(
        (r"LUT[1-6]|INV", Resources(lut=1)),
        (r"RAM(32|64)X1S(_1)?|SRL16E|SRLC16E|SRLC32E", Resources(lut=1)),
        (r"RAM(32|64)X1D(_1)?|RAM128X1S", Resources(lut=2)),
        (r"RAM(32|64)M|RAM128X1D|RAM256X1S", Resources(lut=4)),
        (r"FD[RSCP]E(_1)?|LD[CP]E", Resources(ff=1)),
        (r"RAMB36E1", Resources(ram=1)),
        (r"RAMB18E1", Resources(ram=0.5)),
        (r"DSP48E1", Resources(dsp=1)),
        (rf"CARRY4|MUXF[78]|[IO]BUF|BUFG(CTRL)?|OBUFT|IOBUF|STARTUPE2|{_FREE}", Resources()),
    ),
    # A carry cell takes both LUTs of a slice, a LUT RAM those of two slices and a third's for its
    # write port. Ref: Lattice FPGA-DS-02012, architecture.
    "ecp5": _costs(
        (r"LUT4", Resources(lut=1)),
        (r"CCU2C", Resources(lut=2)),
        (r"TRELLIS_DPR16X4", Resources(lut=6)),
        (r"TRELLIS_FF", Resources(ff=1)),
        (r"DP16KD|PDPW16KD", Resources(ram=1)),
        (r"MULT18X18D", Resources(dsp=1)),
        (rf"PFUMX|L6MUX21|TRELLIS_IO|EHXPLLL|USRMCLK|{_FREE}", Resources()),
    ),
    # A logic cell has a LUT, a carry and a flip-flop; what of them shares a cell, packing decides.
    # Ref: Lattice FPGA-DS-02008.
    "ice40": _costs(
        (r"SB_LUT4", Resources(lut=1)),
        (r"SB_DFF\w*", Resources(ff=1)),
        (r"SB_RAM40_4K\w*", Resources(ram=1)),
        (r"SB_MAC16", Resources(dsp=1)),
        (rf"SB_CARRY|SB_IO|SB_GB|SB_GB_IO|SB_PLL40_\w+|SB_SPRAM256KA|{_FREE}", Resources()),
    ),
    # Adders take the place of LUTs, and a LUT RAM that of all in its tile.
    # Ref: Gowin DS117, DS102, UG288.
    "gowin": _costs(
        (r"LUT[1-4]|ALU", Resources(lut=1)),
        (r"RAM16SDP[124]", Resources(lut=8)),
        (r"DFF\w*", Resources(ff=1)),
        (r"SDPB|SDPX9B|DPB|DPX9B|SP|SPX9", Resources(ram=1)),
        (r"MULT18X18", Resources(dsp=1)),
        (r"MULT9X9", Resources(dsp=0.5)),
        (r"MULT36X36", Resources(dsp=4)),
        (rf"MUX2_LUT[5-8]|[IO]BUF|TBUF|IOBUF|rPLL|GSR|{_FREE}", Resources()),
    ),
}

#: Yosys's synthesis command.
SYNTHESIS: dict[str, tuple[str, ...]] = {
    # LUTs are scarcer than flip-flops, so shift registers stay of these.
    "xc7": ("synth_xilinx", "-family", "xc7", "-nosrl"),
    "ecp5": ("synth_ecp5",),
    "ice40": ("synth_ice40", "-device", "u", "-dsp", "-spram"),
    # Amaranth has made the pads, and Yosys would give some to the clusters' own ports.
    "gowin": ("synth_gowin", "-noiopads"),
}


def synthesis_words(board: Board) -> list[str]:
    """Yosys's synthesis command for a board's part."""
    words = [*SYNTHESIS[board.family.name], *board.synthesis_options]
    if board.family.name == "gowin":
        words += ["-family", "gw2a" if board.part.startswith("GW2A") else "gw1n"]
    return words


def cell_cost(cell: str, family: str = "xc7") -> Resources:
    """Resources of one cell; an unknown cell is a BuildError, never silently free."""
    for pattern, cost in CELLS[family]:
        if pattern.fullmatch(cell):
            return cost
    raise BuildError(f"synthesis left a cell {cell!r} whose resources are not known")


def total_cost(cells: Mapping[str, int], family: str) -> Resources:
    """Resources of cells by type."""
    total = Resources()
    for cell, count in cells.items():
        total += cell_cost(cell, family).times(count)
    return total


@dataclass(frozen=True, kw_only=True)
class PlaceWords:
    """Words for nextpnr and the packer of a part.

    constraints : suffix of the file with pins and clocks
    part : which part
    inputs, outputs : nextpnr's files
    pack : of the packer
    """

    constraints: str
    part: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    pack: tuple[str, ...]


def place_words(board: Board, name: str) -> PlaceWords:
    """The words for a board's part and a design's name."""
    part = board.part
    if board.family.name == "ecp5":
        # LFE5U-85F-6BG381C: size, speed grade, package.
        _, size, rest = part.split("-")
        packages = {"BG381": "CABGA381", "BG256": "CABGA256", "MG285": "CSFBGA285"}
        return PlaceWords(
            constraints=".lpf",
            part=(f"--{size[:-1]}k", "--package", packages[rest[1:6]], "--speed", rest[0]),
            inputs=("--lpf", f"{name}.lpf"),
            outputs=("--textcfg", f"{name}.config"),
            pack=("--compress", "--input", f"{name}.config", "--bit", f"{name}.bit"),
        )
    if board.family.name == "ice40":
        return PlaceWords(
            constraints=".pcf",
            part=("--up5k", "--package", "sg48"),
            inputs=("--pcf", f"{name}.pcf"),
            outputs=("--asc", f"{name}.asc"),
            pack=(f"{name}.asc", f"{name}.bin"),
        )
    if board.family.name == "gowin":
        return PlaceWords(
            constraints=".cst",
            part=("--device", part, "--vopt", f"family={board.device}"),
            inputs=("--vopt", f"cst={name}.cst"),
            outputs=("--write", f"{name}.pnr.json"),
            pack=(*board.pack_options, "-d", board.device, "-o", f"{name}.fs", f"{name}.pnr.json"),
        )
    raise BuildError(f"{board.name}: the open tools do not place and route {part}")


def placed_resources(family: str, used: Mapping[str, int], cells: Mapping[str, int]) -> Resources:
    """What a placed design takes.

    used : cells of the part by nextpnr's names
    cells : of the netlist, by type
    """
    kinds: dict[str, tuple[dict[str, int], ...]] = {
        "ecp5": ({"TRELLIS_COMB": 1}, {"TRELLIS_FF": 1}, {"DP16KD": 1}, {"MULT18X18D": 1}),
        "ice40": ({"ICESTORM_LC": 1}, {}, {"ICESTORM_RAM": 1}, {"ICESTORM_DSP": 1}),
        # A bit of an adder is in a LUT's place, and a LUT RAM of four LUTs leaves no other four.
        "gowin": ({"LUT4": 1, "ALU": 1, "RAM16SDP4": 4}, {"DFF": 1}, {"BSRAM": 1}, {}),
    }
    counted = total_cost(cells, family)
    return Resources(
        **{
            field: sum(used.get(kind, 0) * each for kind, each in weights.items())
            if weights
            else getattr(counted, field)
            for field, weights in zip(("lut", "ff", "ram", "dsp"), kinds[family], strict=True)
        }
    )
