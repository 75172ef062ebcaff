"""A front as a table in the terminal."""

import math
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from moalign.fronts._front import Front, is_feasible
from moalign.fronts._point import Point
from moalign.objectives import Objective

ROOMY = 100  # a terminal of fewer columns gets a tighter table
OPTIONAL = ("preference", "weights", "step", "kind")  # columns that may be left out
SIGNS = "†‡§¶*"  # for what to mind about a point; the legend stands below


def print_front(front: Front, console: Console | None = None, *, title: str = "", dominated: bool = False) -> None:
    """Print a front: each objective ± standard error, preference, weights, step, kind, and what to mind.

    With `dominated`, the other points follow, dimmed. For JSON print ``front.record(root)``.
    """
    console = console or Console()
    tight, wide = console.width < ROOMY, console.options.update(max_width=10_000)
    for without in ((), ("weights",), ("weights", "preference")):
        table = front_table(front, title=title, dominated=dominated, tight=tight, without=without)
        if console.measure(table, options=wide).maximum <= console.width:
            break
    console.print(table)
    if front.reference_point is not None:
        corner = ", ".join(f"{name} {value:g}" for name, value in front.reference_point.items())
        mode = ", greedy" if front.temperature == 0 else ""
        console.print(Text(f"hypervolume {front.hypervolume()}, {front.split}{mode}; reference point {corner}"))
    if front.stopped:
        console.print(Text(f"{', '.join(front.stopped)} stopped in training: the loss was not finite", style="dim"))
    if front.dominated and not dominated:
        console.print(Text(f"{len(front.dominated)} dominated on dev, not shown", style="dim"))


def front_table(
    front: Front, *, title: str = "", dominated: bool = False, tight: bool = False, without: Sequence[str] = ()
) -> Table:
    """Return the table that `print_front` prints; columns that say nothing, or stand in `without`, are left out."""
    points = (*front.points, *(front.dominated if dominated else ()))
    minds = {p.id: marks(p, front.objectives, split=front.split) for p in points}
    known = dict.fromkeys(text for each in minds.values() for text in each)
    signs = {text: SIGNS[i % len(SIGNS)] * (i // len(SIGNS) + 1) for i, text in enumerate(known)}
    rows = [_cells(p, front) | {"point": p.id + "".join(signs[text] for text in minds[p.id])} for p in points]
    said = [name for name in OPTIONAL if name not in without and any(row[name] for row in rows)]
    alike = {name for name in ("step", "kind") if len({row[name] for row in rows}) == 1}
    said = [name for name in said if name not in alike or (name == "kind" and rows[0]["kind"] != "member")]
    table = Table(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.padding = (0, 0 if tight else 1, 0, 0)
    table.add_column("point", no_wrap=True)
    for o in front.objectives:
        table.add_column(f"{o.name} {'↑' if o.maximize else '↓'}", justify="right", no_wrap=True)
    for name in said:
        table.add_column(name, no_wrap=True, justify="right" if name == "step" else "left")
    outside = {p.id for p in front.dominated}
    for point, row in zip(points, rows):
        cells = [cell for name, cell in row.items() if name not in OPTIONAL or name in said]
        table.add_row(*cells, style="dim" if point.id in outside else None)
    shares = list(front.points[0].preference) if front.points else []
    notes = [f"in the order {', '.join(shares)}"] if shares and {"preference", "weights"} & set(said) else []
    notes += [f"all at step {rows[0]['step']}"] if "step" in alike else []
    narrow = [f"no room for {' and '.join(without)} (a wider terminal has)"] if without else []
    legend = [f"{sign} {text}" for text, sign in signs.items()]
    table.caption, table.caption_justify = "\n".join(["; ".join([*notes, *narrow]), *legend]).strip() or None, "left"
    return table


def marks(point: Point, objectives: Sequence[Objective], *, split: str = "test") -> list[str]:
    """Return what to mind about a point, in a few words each."""
    out = [] if point.feasible else ["infeasible on dev"]
    if point.feasible and not is_feasible(point.values, objectives):
        out.append(f"infeasible on {split}")
    if point.dominated_on_test:
        out.append(f"dominated on {split}")
    missing = [o.name for o in objectives if math.isnan(point.values[o.name])]
    return out + [f"no {name}" for name in missing]


def _cells(point: Point, front: Front) -> dict[str, str]:
    """Return a row's cells by column, in the columns' order."""
    return {
        "point": point.id,
        **{f"value {o.name}": o.show(point.values[o.name], point.stderr[o.name]) for o in front.objectives},
        "preference": _shares(point.preference),
        "weights": _shares(point.weights),
        "step": str(point.step),
        "kind": point.kind,
    }


def _shares(weights: Mapping[str, float] | None) -> str:
    return " ".join(f"{value:.2f}".removeprefix("0") for value in weights.values()) if weights else ""
