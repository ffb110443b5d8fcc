"""Dividers of the PLLs against the formulas of the data sheets, stated once more."""

from fractions import Fraction

import pytest

from plum_hw.boards.pll import (
    Ecp5Dividers,
    GowinDividers,
    Ice40Dividers,
    check_clock,
    find_dividers,
)
from plum_hw.errors import ConfigError

MHZ = 1_000_000


def ecp5(d: Ecp5Dividers, fin: Fraction) -> tuple[Fraction, Fraction, Fraction]:
    """Phase detector, oscillator, output: the loop holds CLKOP / CLKFB_DIV at fin / CLKI_DIV."""
    clkop = fin / d.clki * d.clkfb
    return fin / d.clki, clkop * d.clkop, clkop * d.clkop / d.clkos


def ice40(d: Ice40Dividers, fin: Fraction) -> tuple[Fraction, Fraction, Fraction]:
    """FOUT = FREF * (DIVF + 1) / (2^DIVQ * (DIVR + 1)), the oscillator before DIVQ."""
    out = fin * (d.divf + 1) / (2**d.divq * (d.divr + 1))
    return fin / (d.divr + 1), out * 2**d.divq, out


def gowin(d: GowinDividers, fin: Fraction) -> tuple[Fraction, Fraction, Fraction]:
    """CLKOUT = FCLKIN * FBDIV / IDIV, the oscillator ODIV times as fast."""
    return fin / d.idiv, fin * d.fbdiv / d.idiv * d.odiv, fin * d.fbdiv / d.idiv


@pytest.mark.parametrize(
    ("kind", "formula", "fin", "fout", "ranges"),
    [
        (Ecp5Dividers, ecp5, 25, 100, ((10, 400), (400, 800))),
        (Ecp5Dividers, ecp5, 25, 87.5, ((10, 400), (400, 800))),
        (Ecp5Dividers, ecp5, 50, 62.5, ((10, 400), (400, 800))),
        (Ice40Dividers, ice40, 12, 16.5, ((10, 133), (533, 1066))),
        (Ice40Dividers, ice40, 12, 24, ((10, 133), (533, 1066))),
        (GowinDividers, gowin, 27, 54, ((3, 400), (500, 1200))),
        (GowinDividers, gowin, 27, 40.5, ((3, 400), (500, 1200))),
    ],
)
def test_frequency_by_the_data_sheet(kind, formula, fin, fout, ranges):
    found = find_dividers(kind, fin * MHZ, round(fout * MHZ))
    *inner, out = formula(found, Fraction(fin * MHZ))
    assert out == fout * MHZ
    for value, (low, high) in zip(inner, ranges, strict=True):
        assert low * MHZ <= value <= high * MHZ
    made = (
        found.detector_hz(fin * MHZ),
        found.oscillator_hz(fin * MHZ),
        found.output_hz(fin * MHZ),
    )
    assert made == (*inner, out)


def test_field_widths():
    found = find_dividers(Ice40Dividers, 12 * MHZ, 21 * MHZ)
    assert found.divr < 16
    assert found.divf < 128
    assert 1 <= found.divq <= 6
    assert found.filter_range(12 * MHZ) == 1
    other = find_dividers(Ecp5Dividers, 25 * MHZ, 80 * MHZ)
    assert other.clkfb <= 80
    assert max(other.clki, other.clkop, other.clkos) <= 128


def test_clock_of_a_board():
    check_clock("xc7", 100 * MHZ, 100 * MHZ)
    check_clock("ecp5", 25 * MHZ, 80 * MHZ)
    with pytest.raises(ConfigError, match="xc7 run at their oscillator's 100 MHz"):
        check_clock("xc7", 100 * MHZ, 50 * MHZ)
    with pytest.raises(ConfigError, match=r"83\.1 MHz of 25 MHz"):
        check_clock("ecp5", 25 * MHZ, 83_100_000)


def test_frequency_that_no_setting_makes_names_the_nearest():
    with pytest.raises(ConfigError, match=r"83\.1 MHz of 25 MHz; nearest are 8\d\.\d+ and 8\d"):
        find_dividers(Ecp5Dividers, 25 * MHZ, 83_100_000)
    with pytest.raises(ConfigError, match="nearest are 16"):
        find_dividers(Ice40Dividers, 12 * MHZ, 5 * MHZ)
