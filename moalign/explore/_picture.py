"""A front as a small static SVG, for a README: no script, no font of its own."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from moalign.fronts import Front, Panel, panels
from moalign.fronts._panels import axis_title
from moalign.fronts._plot import color
from moalign.objectives import Objective

SIZE, GAP, LEFT, TOP, BOTTOM = 250, 74, 62, 44, 56  # a panel's side, and what surrounds it
INK, SOFT, GRID = "#1f2933", "#52606d", "#e6eaee"


def front_svg(front: Front, baselines: Mapping[str, Front] | None = None, *, name: str = "study") -> str:
    """Return the front beside its baselines, on each pair of objectives, with standard errors.

    >>> svg = front_svg(Front.from_frame({"a": [1.0, 0.0], "b": [0.0, 1.0]}, ["a", "b"]))
    >>> svg.startswith("<svg"), svg.count("<circle class='point'")
    (True, 2)
    """
    fronts = {name: front, **(baselines or {})}
    drawn = panels(fronts)
    width = LEFT + len(drawn) * (SIZE + GAP) - GAP + 20
    height = TOP + SIZE + BOTTOM
    body = [_legend(list(fronts))]
    for i, panel in enumerate(drawn):
        body.append(f"<g transform='translate({LEFT + i * (SIZE + GAP)},{TOP})'>{_panel(panel, list(fronts))}</g>")
    style = f"font-family='system-ui, -apple-system, Segoe UI, Roboto, sans-serif' font-size='12' fill='{SOFT}'"
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
        f"role='img' aria-label='Pareto front' {style}><rect width='{width}' height='{height}' fill='white'/>"
        f"{''.join(body)}</svg>\n"
    )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers within [low, high], about `count` of them.

    >>> ticks(0.13, 0.98)
    [0.2, 0.4, 0.6, 0.8]
    """
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _legend(names: Sequence[str]) -> str:
    out, x = [], float(LEFT)
    for i, name in enumerate(names):
        out.append(_mark(x + 5, 18.0, i, faint=False, kind="key"))
        out.append(f"<text x='{x + 16:.0f}' y='22' fill='{INK}'>{escape(name)}</text>")
        x += 40 + 7 * len(name)
    return "".join(out)


def _panel(panel: Panel, names: Sequence[str]) -> str:
    xs = [(v, e) for dots in panel.dots for v, e in zip(dots.x, dots.x_error)]
    ys = [(v, e) for dots in panel.dots for v, e in zip(dots.y, dots.y_error)]
    low_x, high_x = _range(xs)
    low_y, high_y = _range(ys)

    def at_x(value: float) -> float:
        share = (value - low_x) / (high_x - low_x)
        return SIZE * (share if panel.x.maximize else 1 - share)  # better is right

    def at_y(value: float) -> float:
        share = (value - low_y) / (high_y - low_y)
        return SIZE * (1 - share if panel.y.maximize else share)  # better is up

    out = []
    for value in ticks(low_x, high_x):
        out.append(f"<path d='M{at_x(value):.1f} 0V{SIZE}' stroke='{GRID}'/>")
        out.append(f"<text x='{at_x(value):.1f}' y='{SIZE + 17}' text-anchor='middle'>{value:g}</text>")
    for value in ticks(low_y, high_y):
        out.append(f"<path d='M0 {at_y(value):.1f}H{SIZE}' stroke='{GRID}'/>")
        out.append(f"<text x='-8' y='{at_y(value) + 4:.1f}' text-anchor='end'>{value:g}</text>")
    out.append(f"<rect width='{SIZE}' height='{SIZE}' fill='none' stroke='#b8c1cc'/>")
    out.append(_title(panel.x, f"x='{SIZE / 2}' y='{SIZE + 38}'"))
    out.append(_title(panel.y, f"transform='translate(-44,{SIZE / 2}) rotate(-90)'"))
    for dots in sorted(panel.dots, key=lambda d: (not d.dominated, -names.index(d.front))):  # the study's on top
        index = names.index(dots.front)
        for x, y, dx, dy in zip(dots.x, dots.y, dots.x_error, dots.y_error):
            left, right, up, down = at_x(x - dx), at_x(x + dx), at_y(y - dy), at_y(y + dy)
            cross = f"M{left:.1f} {at_y(y):.1f}H{right:.1f}M{at_x(x):.1f} {up:.1f}V{down:.1f}"
            faint = " opacity='.35'" if dots.dominated else ""
            out.append(f"<path d='{cross}' stroke='{color(index)}'{faint}/>")
            out.append(_mark(at_x(x), at_y(y), index, faint=dots.dominated, kind="point"))
    return "".join(out)


def _range(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return an axis that holds all values with their errors, and some air."""
    low = min((v - e for v, e in values), default=0.0)
    high = max((v + e for v, e in values), default=1.0)
    air = 0.07 * (high - low) if high > low else 0.5 * abs(high) or 0.5
    return low - air, high + air


def _mark(x: float, y: float, index: int, *, faint: bool, kind: str) -> str:
    look = f"stroke='{color(index)}' stroke-width='1.5' fill='{'white' if faint else color(index)}'"
    look += " opacity='.35'" if faint else ""
    if index == 0:
        return f"<circle class='{kind}' cx='{x:.1f}' cy='{y:.1f}' r='4.5' {look}/>"
    return f"<path class='{kind}' d='M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z' {look}/>"


def _title(objective: Objective, place: str) -> str:
    return f"<text {place} text-anchor='middle' fill='{INK}'>{escape(axis_title(objective))}</text>"
