"""What every picture of a front shows, as plain data: one panel per pair of objectives."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from moalign.fronts._front import Front
from moalign.fronts._point import Point
from moalign.objectives import Objective, trained


@dataclass(frozen=True)
class Dots:
    """Points of one front in one panel, own units."""

    front: str  # its name
    ids: tuple[str, ...]
    dominated: bool  # not in the front: drawn faintly
    x: tuple[float, ...]
    y: tuple[float, ...]
    x_error: tuple[float, ...]  # standard errors
    y_error: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """A projection on two objectives; better is up and right, so the axis of a cost is reversed."""

    x: Objective
    y: Objective
    dots: tuple[Dots, ...]


def panels(fronts: Mapping[str, Front]) -> tuple[Panel, ...]:
    """Return a panel for each pair of trained objectives (of all, when only one is trained).

    >>> a = Front.from_frame({"right": [0.9, 0.4, 0.3], "short": [0.1, 0.8, 0.2]}, ["right", "short"])
    >>> [(d.ids, d.dominated) for d in panels({"a": a})[0].dots]
    [(('0', '1'), False), (('2',), True)]
    """
    return tuple(
        Panel(x, y, tuple(dots for name, front in fronts.items() for dots in _dots(name, front, x, y)))
        for x, y in combinations(shown(fronts), 2)
    )


def shown(fronts: Mapping[str, Front]) -> Sequence[Objective]:
    """Return the objectives that pictures have axes for: those that all fronts have."""
    first, *others = fronts.values()
    common = [o for o in first.objectives if all(o.name in {p.name for p in front.objectives} for front in others)]
    return trained(common) if len(trained(common)) > 1 else common


def axis_title(objective: Objective) -> str:
    """Return an axis's words: a cost says so."""
    return objective.name if objective.maximize else f"{objective.name} (less is better)"


def _dots(name: str, front: Front, x: Objective, y: Objective) -> list[Dots]:
    groups = ((False, front.points), (True, front.dominated))
    groups = [(dominated, [p for p in points if _known(p, x, y)]) for dominated, points in groups]
    return [
        Dots(
            front=name,
            ids=tuple(p.id for p in points),
            dominated=dominated,
            x=tuple(p.values[x.name] for p in points),
            y=tuple(p.values[y.name] for p in points),
            x_error=tuple(_or_zero(p.stderr[x.name]) for p in points),
            y_error=tuple(_or_zero(p.stderr[y.name]) for p in points),
        )
        for dominated, points in groups
        if points
    ]


def _known(point: Point, x: Objective, y: Objective) -> bool:
    return math.isfinite(point.values[x.name]) and math.isfinite(point.values[y.name])


def _or_zero(error: float) -> float:
    return error if math.isfinite(error) else 0.0
