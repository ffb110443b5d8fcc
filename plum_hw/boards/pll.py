"""Dividers of the PLLs of each family, for an exact frequency.

Each family's class holds the dividers and says, from its data sheet, what frequencies follow; the
search goes through all dividers that the limits allow and takes those with the fastest phase
detector, then the fastest oscillator, for both lower the jitter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any, Protocol, TypeVar

from plum_hw.errors import ConfigError


class Dividers(Protocol):
    """What the search needs to know of a choice of dividers."""

    def output_hz(self, input_hz: int) -> Fraction:
        """Frequency of the clock that the PLL makes."""
        ...

    def detector_hz(self, input_hz: int) -> Fraction:
        """Frequency at the phase detector."""
        ...

    def oscillator_hz(self, input_hz: int) -> Fraction:
        """Frequency of the PLL's own oscillator."""
        ...


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Ranges in Hz, both ends allowed."""

    input: tuple[int, int]
    detector: tuple[int, int]
    oscillator: tuple[int, int]
    output: tuple[int, int]

    def allow(self, dividers: Dividers, input_hz: int) -> bool:
        """Whether every frequency is within its range."""
        return (
            _within(input_hz, self.input)
            and _within(dividers.detector_hz(input_hz), self.detector)
            and _within(dividers.oscillator_hz(input_hz), self.oscillator)
            and _within(dividers.output_hz(input_hz), self.output)
        )


def _within(value: Fraction | int, ends: tuple[int, int]) -> bool:
    return ends[0] <= value <= ends[1]


@dataclass(frozen=True, kw_only=True)
class Ecp5Dividers:
    """EHXPLLL with feedback from CLKOP; the clock is CLKOS, which has a divider of its own.

    Ref: Lattice FPGA-TN-02200 (ECP5 sysCLOCK), FPGA-DS-02012 (sysCLOCK PLL timing).
    """

    clki: int
    clkfb: int
    clkop: int
    clkos: int

    LIMITS = Limits(
        input=(8_000_000, 400_000_000),
        detector=(10_000_000, 400_000_000),
        oscillator=(400_000_000, 800_000_000),
        output=(3_125_000, 400_000_000),
    )

    def detector_hz(self, input_hz: int) -> Fraction:
        return Fraction(input_hz, self.clki)

    def oscillator_hz(self, input_hz: int) -> Fraction:
        return self.detector_hz(input_hz) * self.clkfb * self.clkop

    def output_hz(self, input_hz: int) -> Fraction:
        return self.oscillator_hz(input_hz) / self.clkos

    @classmethod
    def candidates(cls, input_hz: int, output_hz: int) -> Iterator[Ecp5Dividers]:
        """All that can be within the limits and near to the output."""
        for clki in range(1, input_hz // cls.LIMITS.detector[0] + 1):
            for product in range(1, 129):
                if not _within(Fraction(input_hz * product, clki), cls.LIMITS.oscillator):
                    continue
                for clkop in range(1, 129):
                    if product % clkop or product // clkop > 80:
                        continue
                    feedback = Fraction(input_hz * product, clki * clkop)
                    if not _within(feedback, cls.LIMITS.output):
                        continue
                    nearest = Fraction(input_hz * product, clki) / output_hz
                    for clkos in {floor(nearest) or 1, ceil(nearest)} & set(range(1, 129)):
                        yield cls(clki=clki, clkfb=product // clkop, clkop=clkop, clkos=clkos)


@dataclass(frozen=True, kw_only=True)
class Ice40Dividers:
    """SB_PLL40 with simple feedback.

    Ref: Lattice FPGA-TN-02052 (iCE40 sysCLOCK), FPGA-DS-02008 (iCE40 UltraPlus, PLL timing).
    """

    divr: int
    divf: int
    divq: int

    LIMITS = Limits(
        input=(10_000_000, 133_000_000),
        detector=(10_000_000, 133_000_000),
        oscillator=(533_000_000, 1_066_000_000),
        output=(16_000_000, 275_000_000),
    )
    #: Upper ends of the phase detector's frequency, in Hz, for FILTER_RANGE 1, 2 and so on.
    FILTERS = (17_000_000, 26_000_000, 44_000_000, 66_000_000, 101_000_000, 133_000_000)

    def detector_hz(self, input_hz: int) -> Fraction:
        return Fraction(input_hz, self.divr + 1)

    def oscillator_hz(self, input_hz: int) -> Fraction:
        return self.detector_hz(input_hz) * (self.divf + 1)

    def output_hz(self, input_hz: int) -> Fraction:
        return self.oscillator_hz(input_hz) / 2**self.divq

    def filter_range(self, input_hz: int) -> int:
        """FILTER_RANGE, which follows the phase detector's frequency."""
        detector = self.detector_hz(input_hz)
        return 1 + next(i for i, high in enumerate(self.FILTERS) if detector <= high)

    @classmethod
    def candidates(cls, input_hz: int, output_hz: int) -> Iterator[Ice40Dividers]:
        """All that the primitive's parameters can say."""
        for divr in range(16):
            for divf in range(128):
                for divq in range(1, 7):
                    yield cls(divr=divr, divf=divf, divq=divq)


@dataclass(frozen=True, kw_only=True)
class GowinDividers:
    """The rPLL of GW1N and GW2A.

    Ref: Gowin UG286 (clocks); DS117 (GW1NR-9) and DS102 (GW2A), PLL switching characteristics of
    grade C6/I5, whose ranges lie within those of the faster grades.
    """

    idiv: int
    fbdiv: int
    odiv: int

    LIMITS = Limits(
        input=(3_000_000, 400_000_000),
        detector=(3_000_000, 400_000_000),
        oscillator=(500_000_000, 1_200_000_000),
        output=(3_906_250, 600_000_000),
    )
    #: What ODIV_SEL may be.
    ODIVS = (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128)

    def detector_hz(self, input_hz: int) -> Fraction:
        return Fraction(input_hz, self.idiv)

    def output_hz(self, input_hz: int) -> Fraction:
        return self.detector_hz(input_hz) * self.fbdiv

    def oscillator_hz(self, input_hz: int) -> Fraction:
        return self.output_hz(input_hz) * self.odiv

    @classmethod
    def candidates(cls, input_hz: int, output_hz: int) -> Iterator[GowinDividers]:
        """All that the primitive's parameters can say."""
        for idiv in range(1, 65):
            for fbdiv in range(1, 65):
                for odiv in cls.ODIVS:
                    yield cls(idiv=idiv, fbdiv=fbdiv, odiv=odiv)


T = TypeVar("T", Ecp5Dividers, Ice40Dividers, GowinDividers)


def find_dividers(kind: type[T], input_hz: int, output_hz: int) -> T:
    """Dividers that make exactly `output_hz` of `input_hz`.

    Raises
    ------
    ConfigError : there are none; it names the nearest frequencies below and above
    """
    below, above = Fraction(0), None
    best: T | None = None
    for choice in kind.candidates(input_hz, output_hz):
        if not kind.LIMITS.allow(choice, input_hz):
            continue
        made = choice.output_hz(input_hz)
        if made == output_hz:
            if best is None or _rank(choice, input_hz) > _rank(best, input_hz):
                best = choice
        elif made < output_hz:
            below = max(below, made)
        elif above is None or made < above:
            above = made
    if best is None:
        near = [f"{float(made) / 1e6:.6g}" for made in (below, above) if made]
        raise ConfigError(
            f"no PLL setting makes {output_hz / 1e6:g} MHz of {input_hz / 1e6:g} MHz; "
            f"nearest are {' and '.join(near) or 'none'} MHz"
        )
    return best


def check_clock(family: str, oscillator_hz: int, clock_hz: int) -> None:
    """Raise a ConfigError where a board of that family cannot have that clock."""
    if clock_hz == oscillator_hz:
        return
    kind = _KINDS.get(family)
    if kind is None:
        raise ConfigError(
            f"a clock of {clock_hz / 1e6:g} MHz cannot be made here: boards with {family} run at "
            f"their oscillator's {oscillator_hz / 1e6:g} MHz, for no PLL of theirs is built"
        )
    find_dividers(kind, oscillator_hz, clock_hz)


_KINDS: dict[str, Any] = {"ecp5": Ecp5Dividers, "gowin": GowinDividers, "ice40": Ice40Dividers}


def _rank(dividers: Dividers, input_hz: int) -> tuple[Fraction, Fraction]:
    return dividers.detector_hz(input_hz), dividers.oscillator_hz(input_hz)
