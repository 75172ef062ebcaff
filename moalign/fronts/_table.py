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


def print_front(front: Front, console: Console | None = None, *, title: str = "", dominated: bool = False) -> None:
    """Print a front: each objective ± standard error, preference, weights, step, kind, and what to mind.

    With `dominated`, the other points follow, dimmed. For JSON print ``front.record(root)``.
    """
    console = console or Console()
    console.print(front_table(front, title=title, dominated=dominated, tight=console.width < ROOMY))
    if front.reference_point is not None:
        corner = ", ".join(f"{name} {value:g}" for name, value in front.reference_point.items())
        console.print(Text(f"hypervolume {front.hypervolume()}, {front.split}; reference point {corner}"))
    if front.dominated and not dominated:
        console.print(Text(f"{len(front.dominated)} dominated on dev, not shown", style="dim"))


def front_table(front: Front, *, title: str = "", dominated: bool = False, tight: bool = False) -> Table:
    """Return the table that `print_front` prints; columns that would say nothing are left out."""
    rows = {p.id: _cells(p, front) for p in (*front.points, *(front.dominated if dominated else ()))}
    said = [name for name in ("preference", "weights", "kind", "mind") if any(row[name] for row in rows.values())]
    if all(row["kind"] == "member" for row in rows.values()):
        said = [name for name in said if name != "kind"]
    shares = list(front.points[0].preference) if front.points else []
    table = Table(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.padding = (0, 0 if tight else 1, 0, 0)
    table.caption, table.caption_justify = (f"in the order {', '.join(shares)}" if shares else None), "left"
    table.add_column("point", no_wrap=True)
    for o in front.objectives:
        table.add_column(f"{o.name} {'↑' if o.maximize else '↓'}", justify="right", no_wrap=True)
    for name in ("preference", "weights"):
        if name in said:
            table.add_column(name, no_wrap=True)
    table.add_column("step", justify="right")
    for name in ("kind", "mind"):
        if name in said:
            table.add_column(name)
    outside = {p.id for p in front.dominated}
    for id, row in rows.items():
        hidden = {"preference", "weights", "kind", "mind"} - set(said)
        cells = [cell for name, cell in row.items() if name not in hidden]
        table.add_row(*cells, style="dim" if id in outside else None)
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
        "mind": ", ".join(marks(point, front.objectives, split=front.split)),
    }


def _shares(weights: Mapping[str, float] | None) -> str:
    return " ".join(f"{value:.2f}".removeprefix("0") for value in weights.values()) if weights else ""
