"""The page's one figure: hypervolume of every run of every arm, a panel per task, and the training curves."""

from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.results.arms import ARMS, BASELINE, GUIDED
from benchmarks.results.records import Record
from benchmarks.results.statistics import interquartile_mean
from moalign.explore._picture import GRID, INK, SOFT, ticks

WIDTH, ROW, LEFT, TOP, GAP = 250, 19, 150, 40, 34
COLOURS = {GUIDED: "#7b4fb5", "hypervolume-chebyshev": "#7b4fb5", BASELINE: "#12908e"}
OTHER = "#8b97a3"


def figure(records: Mapping[str, Sequence[Record]], optimum: Mapping[str, float]) -> str:
    """Return an SVG: tasks side by side, one dot per seed, the interquartile mean with its interval as a bar."""
    tasks = [task for task, found in records.items() if found]
    height = TOP + ROW * len(ARMS) + 50
    width = LEFT + len(tasks) * (WIDTH + GAP)
    body = [
        _text(LEFT - 10, TOP + ROW * i + 13, name, anchor="end", colour=COLOURS.get(name, INK))
        for i, name in enumerate(ARMS)
    ]
    for i, task in enumerate(tasks):
        panel = _strips(task, records[task], optimum.get(task))
        body.append(f"<g transform='translate({LEFT + i * (WIDTH + GAP)},{TOP})'>{panel}</g>")
    style = f"font-family='system-ui, -apple-system, Segoe UI, Roboto, sans-serif' font-size='12' fill='{SOFT}'"
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
        f"role='img' aria-label='Hypervolume of every run' {style}>"
        f"<rect width='{width}' height='{height}' fill='white'/>{''.join(body)}</svg>\n"
    )


def _strips(task: str, records: Sequence[Record], optimum: float | None) -> str:
    values = {arm: [r.hypervolume for r in records if r.arm == arm] for arm in ARMS}
    known = [value for found in values.values() for value in found] + ([optimum] if optimum is not None else [])
    low, high = min(known), max(known)
    margin = 0.06 * (high - low or 1)
    low, high = low - margin, high + margin
    bottom = ROW * len(ARMS) + 4

    def x(value: float) -> float:
        return WIDTH * (value - low) / (high - low)

    out = [_text(WIDTH / 2, -14, f"{task}: hypervolume on test", colour=INK)]
    for value in ticks(low, high, 4):
        out.append(f"<path d='M{x(value):.1f} 0V{bottom}' stroke='{GRID}'/>")
        out.append(_text(x(value), bottom + 16, f"{value:g}"))
    if optimum is not None:
        out.append(f"<path d='M{x(optimum):.1f} 0V{bottom}' stroke='{INK}' stroke-dasharray='3 3'/>")
        out.append(_text(x(optimum), bottom + 32, "closed-form optimum", anchor="end"))
    for i, (arm, found) in enumerate(values.items()):
        if not found:
            continue
        y, colour, middle = ROW * i + 9, COLOURS.get(arm, OTHER), interquartile_mean(found)
        out += [f"<circle cx='{x(v):.1f}' cy='{y}' r='2.6' fill='{colour}' fill-opacity='.45'/>" for v in found]
        if middle.low == middle.low:
            out.append(f"<path d='M{x(middle.low):.1f} {y}H{x(middle.high):.1f}' stroke='{colour}' stroke-width='2'/>")
        out.append(f"<path d='M{x(middle.value):.1f} {y - 6}v12' stroke='{colour}' stroke-width='2.4'/>")
    return "".join(out)


def curves(records: Sequence[Record], arms: Sequence[str]) -> str:
    """Return an SVG of training curves: hypervolume of running means against rollouts, a faint line per seed."""
    shown = [r for r in records if r.arm in arms and r.curve]
    if not shown:
        return ""
    points = [(float(x), float(y)) for r in shown for x, y in r.curve if y is not None]
    right, top = max(x for x, _ in points), max(y for _, y in points) * 1.03
    wide, high = 460, 240

    def at(x: float, y: float) -> str:
        return f"{wide * x / right:.1f} {high - high * y / top:.1f}"

    out = []
    for value in ticks(0.0, top, 4):
        out.append(f"<path d='M{at(0, value)}H{wide}' stroke='{GRID}'/>")
        out.append(_text(-8, high - high * value / top + 4, f"{value:g}", anchor="end"))
    for value in ticks(0.0, right, 5):
        out.append(_text(wide * value / right, high + 18, f"{value / 1000:g}k"))
    for r in shown:
        line = "L".join(at(float(x), float(y)) for x, y in r.curve if y is not None)
        colour = COLOURS.get(r.arm, OTHER)
        out.append(f"<path d='M{line}' fill='none' stroke='{colour}' stroke-opacity='.55' stroke-width='1.3'/>")
    for i, arm in enumerate(arms):
        out.append(_text(wide - 4, high - 34 + 16 * i, arm, anchor="end", colour=COLOURS.get(arm, OTHER)))
    out.append(_text(wide / 2, high + 36, f"rollouts while training ({shown[0].task})"))
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='-50 -14 {wide + 70} {high + 60}' width='{wide + 70}' "
        f"height='{high + 60}' role='img' aria-label='Training curves' font-family='system-ui, sans-serif' "
        f"font-size='12' fill='{SOFT}'><rect x='-50' y='-14' width='100%' height='100%' fill='white'/>"
        f"{''.join(out)}</svg>\n"
    )


def _text(x: float, y: float, words: str, *, anchor: str = "middle", colour: str = SOFT) -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' fill='{colour}'>{escape(words)}</text>"
