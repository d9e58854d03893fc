"""Plots as SVG text: a page that carries them needs no network and no library."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#1f5fa8", "#c2410c", "#15803d", "#7c3aed", "#57534e")
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 12, 40
"""Pixels around the plot."""
TICKS = 5
ROUND = (1, 2, 5, 10)
NEARLY = 1e-9
"""Of a step: an edge that is a round number but for a rounding error has its tick."""


@dataclass(frozen=True)
class Line:
    """Points of a series, with a band around them where low and high are given; all of one length."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class _Scale:
    """Data to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers, at most TICKS + 1 of them."""
        power = 10.0 ** math.floor(math.log10((self.high - self.low) / TICKS))
        step = next(one * power for one in ROUND if one * power * TICKS >= self.high - self.low)
        first, last = math.ceil(self.low / step - NEARLY), math.floor(self.high / step + NEARLY)
        return [place * step for place in range(first, last + 1)]


def line_chart(
    lines: Mapping[str, Line],
    *,
    x_label: str,
    y_label: str,
    reference: float | None = None,
    y_format: str = ".1%",
    width: int = 680,
    height: int = 300,
) -> str:
    """An SVG with one colour a series and a legend below.

    Args:
        lines: Name to series, at least one with a point.
        x_label: Under the plot.
        y_label: Above it.
        reference: A value to draw a dashed line at.
        y_format: Of the ticks.
        width: Pixels.
        height: Pixels, without the legend.
    """
    across, up = _scales(list(lines.values()), reference, width, height)
    parts = [_axes(across, up, x_label, y_label, y_format, width, height)]
    if reference is not None:
        y = f"{up(reference):.1f}"
        parts.append(
            f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{y}" y2="{y}" stroke="#78716c" stroke-dasharray="4 4"/>'
        )
    parts += [_series(line, across, up, _colour(place)) for place, line in enumerate(lines.values())]
    parts += [_legend(name, place, height) for place, name in enumerate(lines)]
    whole = height + 6 + 20 * len(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {whole}" width="{width}" height="{whole}" '
        f'role="img" aria-label="{escape(y_label)}" font-family="system-ui, sans-serif" font-size="12" fill="#292524">'
        f'<rect width="{width}" height="{whole}" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def _scales(lines: Sequence[Line], reference: float | None, width: int, height: int) -> tuple[_Scale, _Scale]:
    xs = [x for line in lines for x in line.x]
    ys = [y for line in lines for y in (*line.y, *line.low, *line.high)]
    ys += [] if reference is None else [reference]
    margin = 0.05 * (max(ys) - min(ys)) or 1.0
    last = max(xs) if max(xs) > min(xs) else min(xs) + 1
    across = _Scale(min(xs), last, LEFT, width - RIGHT)
    return across, _Scale(min(ys) - margin, max(ys) + margin, height - BOTTOM, TOP + 16)


def _axes(across: _Scale, up: _Scale, x_label: str, y_label: str, y_format: str, width: int, height: int) -> str:
    grid = [
        f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{up(tick):.1f}" y2="{up(tick):.1f}" stroke="#e7e5e4"/>'
        f'<text x="{LEFT - 6}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:{y_format}}</text>'
        for tick in up.ticks()
    ]
    below = [
        f'<text x="{across(tick):.1f}" y="{height - BOTTOM + 16}" text-anchor="middle">{tick:.3g}</text>'
        for tick in across.ticks()
    ]
    labels = (
        f'<text x="{LEFT}" y="{TOP}" font-weight="600">{escape(y_label)}</text>'
        f'<text x="{(LEFT + width - RIGHT) / 2}" y="{height - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return "".join(grid + below) + labels


def _series(line: Line, across: _Scale, up: _Scale, colour: str) -> str:
    band = ""
    if line.low:
        there = [f"{across(x):.1f},{up(y):.1f}" for x, y in zip(line.x, line.high, strict=True)]
        back = [f"{across(x):.1f},{up(y):.1f}" for x, y in zip(line.x, line.low, strict=True)]
        band = f'<polygon points="{" ".join(there + back[::-1])}" fill="{colour}" fill-opacity="0.14"/>'
    points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in zip(line.x, line.y, strict=True))
    last = f'<circle cx="{across(line.x[-1]):.1f}" cy="{up(line.y[-1]):.1f}" r="3" fill="{colour}"/>'
    return f'{band}<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>{last}'


def _legend(name: str, place: int, height: int) -> str:
    y = height + 14 + 20 * place
    return (
        f'<rect x="{LEFT}" y="{y - 9}" width="12" height="10" fill="{_colour(place)}"/>'
        f'<text x="{LEFT + 18}" y="{y}">{escape(name)}</text>'
    )


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]
