"""`plum build --soc`: what is in the design, and that nothing of it is without."""

from __future__ import annotations

import dataclasses
import re

import pytest
from typer.testing import CliRunner

from plum_hw import build as build_module
from plum_hw.boards import board, boards
from plum_hw.boards.board import Board
from plum_hw.boards.project import design_verilog, make_project
from plum_hw.boards.soc_top import SocTop, controller_for
from plum_hw.build import DESIGN, _check_fit
from plum_hw.cli import app
from plum_hw.compiler import compile_network
from plum_hw.demo import shipped
from plum_hw.errors import BuildError, ConfigError
from plum_hw.flow.families import Resources
from plum_hw.gateware.soc.memories import rom_words
from plum_hw.ir import load_network
from plum_hw.presets import preset
from plum_hw.soc.firmware import App, Firmware

TINY = preset("tiny")
#: Names of the controller's parts.
PARTS = "processor|picorv32|checksum|timer|serial|flash|rom|ram|interconnect"


def project(name: str, firmware: bytes | None = None) -> dict[str, str]:
    item = board(name)
    top = None
    if firmware is not None:
        top = SocTop(item, TINY, controller_for(item), firmware)
    return make_project(item, TINY, DESIGN, top)


def module_names(files: dict[str, str]) -> set[str]:
    """Last words of the names of all modules of a Verilog design."""
    text = "".join(text for name, text in files.items() if name.endswith(".v"))
    return {name.rpartition(".")[2] for name in re.findall(r"^module \\?(\S+?)[ (;]", text, re.M)}


@pytest.fixture(scope="module")
def arty_alone() -> dict[str, str]:
    return project("arty")


@pytest.fixture(scope="module")
def arty_soc(firmware: Firmware) -> dict[str, str]:
    return project("arty", firmware.image)


def test_without_soc_nothing_of_it_is_in_the_design(arty_alone):
    assert not [name for name in module_names(arty_alone) if re.fullmatch(PARTS, name)]
    text = "".join(arty_alone.values())
    for word in ("picorv32", "spi_flash", "waitirq"):
        assert word not in text
    assert "LOC L13" not in arty_alone[f"{DESIGN}.xdc"]


def test_resources_are_counted_with_the_controller(arty_alone, arty_soc, tmp_path, monkeypatch):
    """What is synthesised for the report is the design that is built."""
    assert "picorv32" in design_verilog(arty_soc, DESIGN)
    assert "picorv32" not in design_verilog(arty_alone, DESIGN)
    counted = []

    def synthesise_whole(item, verilog, top):
        counted.append(verilog)
        return Resources(lut=1)

    monkeypatch.setattr(build_module, "synthesise_whole", synthesise_whole)
    report = build_module.build(board("arty"), TINY, tmp_path, blocks=False, soc=App.STANDALONE)
    assert counted == [design_verilog(arty_soc, DESIGN)]
    assert report.resources == Resources(lut=1)
    assert report.as_dict()["soc"]["app"] == "standalone"


def test_with_soc_it_is(arty_soc):
    names = module_names(arty_soc)
    assert set(PARTS.split("|")) <= names
    assert "link" not in names
    assert "picorv32.v" in arty_soc
    pins = arty_soc[f"{DESIGN}.xdc"]
    # Flash, serial port, LED 3, button 0. Ref: Digilent, Arty A7 reference manual.
    for pin in ("L13", "L16", "K17", "K18", "A9", "D10", "T10", "D9"):
        assert f"LOC {pin} " in pins, pin


def test_no_port_of_the_arty_is_left_without_a_constraint(arty_soc):
    """Each is the clock's, declared asynchronous, or bounded by what the flash needs; and once."""
    pins = arty_soc[f"{DESIGN}.xdc"]
    ports = re.findall(r'set_property LOC \w+ \[get_ports "(.*?)"', pins)
    free = re.findall(r"^set_false_path -(?:from|to) \[get_ports \{(.*?)\}\]$", pins, re.M)
    bounded = re.findall(
        r"^set_max_delay -datapath_only .*\[get_ports \{(.*?)\}\] ([\d.]+)$", pins, re.M
    )
    assert sorted(ports) == sorted(["clk100_0__io", *free, *(port for port, _ in bounded)])
    flash = {port.removeprefix("spi_flash_1x_0__").removesuffix("__io"): ns for port, ns in bounded}
    # There and back, with the flash's own 9 ns, in a period of its clock: two of 10 ns.
    there = {float(flash.pop(line)) for line in ("cs", "copi", "clk")}
    assert len(there) == 1
    assert flash.keys() == {"cipo"}
    assert there.pop() + float(flash["cipo"]) + 9 == pytest.approx(20)
    inputs = set(re.findall(r"^set_false_path -from \[get_ports \{(.*?)\}\]$", pins, re.M))
    assert inputs == {"uart_0__rx__io", "rst_0__io", *(f"button_{n}__io" for n in range(4))}


def test_asynchronous_inputs_are_synchronised(arty_soc):
    """Amaranth's synchronisers have an attribute for which its script declares false paths."""
    text = arty_soc[f"{DESIGN}.v"]
    assert "amaranth.vivado.false_path" in arty_soc[f"{DESIGN}.tcl"]
    # A bit of the serial line and one of each of the four buttons.
    declared = r'amaranth\.vivado\.false_path  = "TRUE" \*\)\s*reg (?:\[(\d+):0\] )?'
    stages = re.findall(declared, text)
    assert sorted(int(top or 0) + 1 for top in stages) == [1, 4]


def test_flash_of_an_ecp5_has_the_clock_of_the_configuration(firmware):
    files = project("ulx3s-85f", firmware.image)
    assert "USRMCLK" in files[f"{DESIGN}.il"]
    sites = files[f"{DESIGN}.lpf"]
    for pin in ("R2", "W2", "V2"):
        assert f'SITE "{pin}"' in sites, pin


def test_rom_holds_the_firmware(firmware):
    words = rom_words(firmware.image, 16384)
    image = b"".join(word.to_bytes(4, "little") for word in words)
    assert image == firmware.image.ljust(16384, b"\0")
    with pytest.raises(ValueError, match="does not fit 1024"):
        rom_words(firmware.image, 1024)


def test_controller_is_as_the_board_has_it():
    arty, ulx = controller_for(board("arty")), controller_for(board("ulx3s-85f"))
    assert (arty.leds, arty.buttons, arty.clock_hz) == (4, 4, 100_000_000)
    # Of the ULX3S one button resets the array.
    assert (ulx.leds, board("ulx3s-85f").reset) == (8, ("button_pwr", 0))
    assert arty.baud == board("arty").baud


@pytest.mark.parametrize("name", sorted(boards()))
def test_array_beside_a_controller(name):
    """Where it is another one, it has fewer clusters and holds the board's network in one part."""
    item = board(name)
    alone, beside = preset(item.preset_name(soc=False)), preset(item.preset_name(soc=True))
    assert item.clock_of(soc=True) % item.baud == 0
    assert alone.name == item.array
    if alone != beside:
        assert beside.clusters < alone.clusters
        network = load_network(shipped(f"{item.network}.qnet"))
        assert len(compile_network(network, beside).parts) == 1


def test_array_that_leaves_no_room_names_the_one_that_does():
    arty = board("arty")
    with pytest.raises(BuildError, match=r"54 of 50.*\(arty-a7-35t-soc is meant for arty --soc"):
        _check_fit(arty, Resources(lut=1, ff=1, ram=54, dsp=1), soc=True)
    with pytest.raises(BuildError, match=r"\(arty-a7-35t is meant for arty\)"):
        _check_fit(arty, Resources(lut=99_999, ff=1, ram=5, dsp=1), soc=False)


def test_flash_is_not_read_faster_than_it_can_be():
    quick = dataclasses.replace(board("arty"), clock_hz=125_000_000)
    assert controller_for(quick).flash_half_period == 2
    assert controller_for(board("arty")).flash_half_period == 1


def test_board_without_a_flash(monkeypatch):
    class Bare(type(board("arty").make_platform())):  # type: ignore[misc]
        resources = [  # noqa: RUF012
            item
            for item in type(board("arty").make_platform()).resources
            if not item.name.startswith("spi_flash")
        ]

    item = board("arty")
    monkeypatch.setattr(type(item), "make_platform", lambda self: Bare())
    with pytest.raises(ConfigError, match=r"--soc needs an SPI flash .* arty has no flash"):
        controller_for(item)


@pytest.mark.parametrize(
    ("words", "mhz"), [([], 75), (["--soc"], 40), (["--soc", "--clock", "50"], 50)]
)
def test_clock_beside_a_controller(words, mhz, monkeypatch):
    """Of the board with or without one, unless a clock is asked for; nothing is built."""
    clocks: list[int] = []

    def no_build(item: Board, *rest: object, **options: object) -> None:
        clocks.append(item.clock_hz)
        raise BuildError("not here")

    monkeypatch.setattr(build_module, "build", no_build)
    CliRunner().invoke(app, ["build", "--board", "ulx3s-25f", *words])
    assert clocks == [mhz * 1_000_000]
