"""A front as a table in the terminal."""

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from moalign.objectives import Objective

from ._front import Front, is_feasible
from ._point import Point


def print_front(front: Front, console: Console | None = None, *, title: str = "", dominated: bool = False) -> None:
    """Print a front: each objective ± standard error, preference, weights, step, kind, and what to mind.

    With `dominated`, the other points follow, dimmed. For JSON print ``front.record(root)``.
    """
    console = console or Console()
    console.print(front_table(front, title=title, dominated=dominated))
    if front.reference_point is not None:
        corner = ", ".join(f"{name} {value:g}" for name, value in front.reference_point.items())
        console.print(Text(f"hypervolume {front.hypervolume()}, {front.split}; reference point {corner}"))
    if front.dominated and not dominated:
        console.print(Text(f"{len(front.dominated)} dominated on dev, not shown", style="dim"))


def front_table(front: Front, *, title: str = "", dominated: bool = False) -> Table:
    """Return the table that `print_front` prints."""
    table = Table(title=title or None, title_justify="left", title_style="bold")
    table.add_column("point", no_wrap=True)
    for o in front.objectives:
        table.add_column(f"{o.name} {'↑' if o.maximize else '↓'}", justify="right", no_wrap=True)
    shares = list(front.points[0].preference) if front.points else []
    order = "\n" + " · ".join(shares) if shares else ""
    for name in ("preference", "weights"):
        table.add_column(name + order)
    table.add_column("step", justify="right")
    table.add_column("kind")
    table.add_column("mind")
    for point in front.points:
        table.add_row(*_cells(point, front))
    if dominated:
        for point in front.dominated:
            table.add_row(*_cells(point, front), style="dim")
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


def _cells(point: Point, front: Front) -> list[str]:
    values = [o.show(point.values[o.name], point.stderr[o.name]) for o in front.objectives]
    mind = ", ".join(marks(point, front.objectives, split=front.split))
    return [point.id, *values, _shares(point.preference), _shares(point.weights), str(point.step), point.kind, mind]


def _shares(weights: Mapping[str, float] | None) -> str:
    return " · ".join(f"{value:.2f}" for value in weights.values()) if weights else ""
