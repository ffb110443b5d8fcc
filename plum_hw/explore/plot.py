"""A plot of a design space: images a second over the share of the part, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

from plum_hw.explore.space import Point

_WIDTH, _HEIGHT = 760, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 200, 48, 56
#: One colour for each number of lanes; told apart by the colour-blind too. Ref: Okabe and Ito.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def plot(points: Sequence[Point], clock_hz: int, title: str) -> str:
    """SVG text. Filled: the best points, joined by a line; hollow: others; grey: does not fit."""
    shown = [point for point in points if point.cycles and point.share]
    if not shown:
        return _frame(title, ['<text x="90" y="120">no point runs this network</text>'])
    rates = [clock_hz / (point.cycles or 1) for point in shown]
    low, high = 10 ** floor(log10(min(rates))), 10 ** ceil(log10(max(rates) * 1.001))
    widest = max(1.0, *(min(point.share or 0, 1.6) for point in shown))

    def across(share: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(share, 1.6) / widest

    def up(rate: float) -> float:
        part = (log10(rate) - log10(low)) / (log10(high) - log10(low))
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * part

    body = _axes(low, high, widest, across, up)
    lanes = sorted({point.config.lanes for point in shown})
    best = sorted((p for p in shown if p.best), key=lambda p: p.share or 0)
    path = " ".join(
        f"{across(p.share or 0):.1f},{up(clock_hz / (p.cycles or 1)):.1f}" for p in best
    )
    body.append(f'<polyline points="{path}" fill="none" stroke="#555" stroke-dasharray="4 3"/>')
    for point, rate in zip(shown, rates, strict=True):
        colour = _COLOURS[lanes.index(point.config.lanes) % len(_COLOURS)]
        edge = colour if point.fits else "#bbb"
        what = f"{point.config.clusters} x {point.config.lanes} lanes"
        label = (
            f"{what}, {point.config.act_bits} bits, depth {point.config.act_depth}: "
            f"{rate:,.0f} images/s, {100 * (point.share or 0):.0f} % of the part"
        )
        x, y = across(point.share or 0), up(rate)
        body.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if point.best else 4.5}" '
            f'fill="{edge if point.best else "white"}" stroke="{edge}" stroke-width="1.8">'
            f"<title>{escape(label)}</title></circle>"
        )
        if point.best:
            body.append(
                f'<text x="{x + 9:.1f}" y="{y + 15:.1f}" font-size="11">'
                f"{point.config.clusters} x {point.config.lanes}</text>"
            )
    body += _legend(lanes)
    return _frame(title, body)


def _axes(low, high, widest, across, up) -> list[str]:  # type: ignore[no-untyped-def]
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    lines = []
    decade = low
    while decade <= high * 1.001:
        for step in (1, 2, 5):
            rate = decade * step
            if rate > high * 1.001:
                break
            y = up(rate)
            lines.append(
                f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>'
                f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{rate:,.0f}</text>'
            )
        decade *= 10
    for tenth in range(0, int(widest * 10) + 1, 2):
        x = across(tenth / 10)
        lines.append(
            f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#eee"/>'
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tenth * 10} %</text>'
        )
    full = across(1.0)
    lines += [
        f'<line x1="{full:.1f}" y1="{_TOP}" x2="{full:.1f}" y2="{bottom}" stroke="#a00"/>',
        f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 14}" text-anchor="middle">'
        "share of the part's fullest resource</text>",
        f'<text transform="translate(18,{(_TOP + bottom) / 2}) rotate(-90)" '
        'text-anchor="middle">images a second</text>',
    ]
    return lines


def _legend(lanes: Sequence[int]) -> list[str]:
    x, y = _WIDTH - _RIGHT + 20, _TOP + 10
    rows = [
        (f"{count} lanes", _COLOURS[number % len(_COLOURS)], "white")
        for number, count in enumerate(lanes)
    ]
    rows += [("best points", "#555", "#555"), ("does not fit", "#bbb", "white")]
    return [
        f'<circle cx="{x}" cy="{y + 22 * number - 4}" r="5" fill="{fill}" stroke="{edge}" '
        f'stroke-width="1.8"/><text x="{x + 14}" y="{y + 22 * number}">{text}</text>'
        for number, (text, edge, fill) in enumerate(rows)
    ]


def _frame(title: str, body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>\n'
        f'<text x="{_LEFT}" y="26" font-size="15">{escape(title)}</text>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )
