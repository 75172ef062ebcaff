"""The front: models that no other model beats in everything, with the rest kept aside."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError, RunError, UnknownNameError, nearest
from moalign.fronts._measure import Measure, hypervolume_measure, independent_errors
from moalign.fronts._point import Numbers, Point
from moalign.fronts._select import select
from moalign.objectives import Objective, as_objectives, trained
from moalign.optimizers.dominance import non_dominated
from moalign.runs import read_json, write_json

if TYPE_CHECKING:
    from pandas import DataFrame
    from plotly.graph_objects import Figure

FORMAT = 1  # of front.json
KEPT = ("name", "maximize", "threshold", "after", "bounds", "optimize")  # of an objective: all but how it is computed


@dataclass(frozen=True, repr=False)
class Front(Sequence[Point]):
    """Points that were non-dominated on dev prompts, valued on `split` prompts; `dominated` keeps the rest.

    A sequence of points and nothing but data: models load when a point is asked to.
    """

    points: tuple[Point, ...]
    objectives: tuple[Objective, ...]  # without their rewards
    dominated: tuple[Point, ...] = ()
    reference_point: Numbers | None = None  # own units
    split: str = "test"
    prompts: int = 0  # per point
    temperature: float | None = None  # at which the points were valued; 0 is greedy
    stopped: tuple[str, ...] = ()  # members that stopped in training: their loss was not finite
    measured: Measure | None = None  # hypervolume, with an error that knows what the points share

    def __post_init__(self) -> None:
        bare = tuple(replace(o, reward=None, timeout=None, isolate=False) for o in self.objectives)
        object.__setattr__(self, "objectives", bare)

    def __len__(self) -> int:
        return len(self.points)

    @overload
    def __getitem__(self, index: int | str) -> Point: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Point]: ...
    def __getitem__(self, index: int | str | slice) -> Point | Sequence[Point]:
        return self.point(index) if isinstance(index, str) else self.points[index]

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    def __repr__(self) -> str:
        names = ", ".join(o.name for o in self.objectives)
        return f"Front({len(self.points)} points and {len(self.dominated)} dominated; {names} on {self.split})"

    def point(self, id: str) -> Point:
        """Return the point of that id, dominated or not."""
        known = {point.id: point for point in (*self.points, *self.dominated)}
        if id not in known:
            raise UnknownNameError(f"the front has no point `{id}`{nearest(id, known)}")
        return known[id]

    def inner(self, points: Sequence[Point], field: str = "values") -> Float[Tensor, "point objective"]:
        """Return the trained objectives' values (or another field), larger is better."""
        rows = [[o.flip(float(getattr(p, field)[o.name])) for o in trained(self.objectives)] for p in points]
        return torch.tensor(rows, dtype=torch.float64).reshape(len(points), len(trained(self.objectives)))

    def hypervolume(self) -> Measure:
        """Return the volume that the front dominates above the reference point, with its standard error.

        A front made by a run knows how its points' errors move together, being measured on the same prompts;
        one made from a table takes them as independent.
        """
        if self.measured is not None:
            return self.measured
        if self.reference_point is None:
            raise ConfigError("this front has no `reference_point`, which a hypervolume is measured from; give one.")
        known = [p for p in self.points if bool(torch.isfinite(self.inner([p])).all())]
        reference = [o.flip(float(self.reference_point[o.name])) for o in trained(self.objectives)]
        return hypervolume_measure(
            self.inner(known),
            independent_errors(self.inner(known, "stderr").abs()),
            torch.tensor(reference, dtype=torch.float64),
            reference_point=self.reference_point,
            prompts=self.prompts,
        )

    def select(
        self,
        weights: Numbers | None = None,
        *,
        at_least: Numbers | None = None,
        at_most: Numbers | None = None,
        maximize: str | None = None,
        method: str = "chebyshev",
    ) -> Point:
        """Return the point to use: within limits (own units), the best in one objective or for some weights.

        Args:
            weights: how much each objective counts; default all alike. Objectives are scaled to their range on the
                front first.
            at_least, at_most: limits that a point must keep.
            maximize: the objective to be best in, in its own direction: a cost's best is its smallest.
            method: "chebyshev" takes the least of the largest weighted regrets, and so reaches every kind of
                front; "linear" the largest weighted sum, which skips points in its hollows.
        """
        return select(
            self.points,
            self.objectives,
            weights=weights,
            at_least=at_least or {},
            at_most=at_most or {},
            maximize=maximize,
            method=method,
        )

    def compare(self, prompts: Sequence[Any], **options: Any) -> "DataFrame":
        """Return what every point answers: one row per prompt, one column per point; options as in `Point.generate`."""
        from pandas import DataFrame, Index

        answers = {point.id: point.generate(prompts, **options) for point in self.points}
        return DataFrame(answers, index=Index([str(p) for p in prompts], name="prompt"))

    def soup(self, shares: Mapping[str, float | int], *, to: str | Path | None = None) -> Point:
        """Return the mean of some points' models, ``{id: share}`` with shares that sum to 1, as a point with files.

        Exact in the product B·A. Its values are NaN: value it before it is compared. Files go to `to`, by default
        beside the points'.
        """
        from moalign.fronts._soup import soup

        return soup([self.point(id) for id in shares], shares, None if to is None else Path(to))

    def to_frame(self) -> "DataFrame":
        """Return one row per point, dominated ones last and marked in the column ``front``."""
        from pandas import DataFrame

        rows = []
        for point in (*self.points, *self.dominated):
            row: dict[str, Any] = {"id": point.id, "front": point in self.points}
            for o in self.objectives:
                row |= {o.name: point.values[o.name], f"{o.name}_stderr": point.stderr[o.name]}
            row |= {f"preference/{name}": value for name, value in point.preference.items()}
            row |= {f"weights/{name}": value for name, value in (point.weights or {}).items()}
            rest = ("feasible", "dominated_on_test", "kind", "step", "seed")
            rows.append(row | {name: getattr(point, name) for name in rest})
        return DataFrame(rows)

    @staticmethod
    def from_frame(frame: Any, objectives: Any, *, reference_point: Numbers | None = None) -> "Front":
        """Return the front of a table: a column per objective, perhaps ``<name>_stderr`` and ``id``, in own units.

        `objectives` are `Objective`s, or names of columns that are to be maximized. The points are valued on the
        very numbers that choose them: with noise, the front is flattered.
        """
        from pandas import DataFrame

        frame = DataFrame(frame).reset_index(drop=True)
        given = [objectives] if isinstance(objectives, str | Objective) else objectives
        known = as_objectives([Objective(o) if isinstance(o, str) else o for o in given])
        missing = [o.name for o in known if o.name not in frame]
        if missing:
            raise ConfigError(f"`frame` has no column {', '.join(missing)}; it has {', '.join(map(str, frame))}.")
        points = tuple(_from_row(row, known, i) for i, row in enumerate(frame.to_dict("records")))
        everything = Front(points, known, reference_point=reference_point, split="table")
        chosen = everything.chosen(points)
        return replace(
            everything,
            points=tuple(p for p, kept in zip(points, chosen) if kept),
            dominated=tuple(p for p, kept in zip(points, chosen) if not kept),
        )

    def chosen(self, points: Sequence[Point], field: str = "values") -> list[bool]:
        """Return which points no other one dominates; while any point is feasible, the infeasible ones are out."""
        values = self.inner(points, field)
        able = torch.isfinite(values).all(dim=1)
        feasible = torch.tensor([point.feasible for point in points], dtype=torch.bool)
        if bool((able & feasible).any()):
            able &= feasible
        able[able.clone()] = non_dominated(values[able])
        return able.tolist()

    def plot(self) -> "Figure":
        """Return a plotly figure: one panel per pair of objectives, with standard errors."""
        from moalign.fronts._plot import front_figure

        return front_figure({"front": self})

    def save(self, path: str | Path) -> Path:
        """Write the front as JSON; points' paths are kept relative to the file."""
        path = Path(path)
        write_json(path, self.record(path.parent))
        return path

    def record(self, root: Path) -> dict[str, Any]:
        """Return the front as JSON data, with points' paths relative to `root`."""
        plain = ("split", "prompts", "temperature", "reference_point")
        measure = self.hypervolume() if self.reference_point is not None else None
        return {
            "format": FORMAT,
            "objectives": [{name: getattr(o, name) for name in KEPT} for o in self.objectives],
            **{name: getattr(self, name) for name in plain},
            "hypervolume": None if measure is None else asdict(measure),
            "points": [point.record(root) for point in self.points],
            "dominated": [point.record(root) for point in self.dominated],
            "stopped": list(self.stopped),
        }

    @staticmethod
    def from_json(path: str | Path) -> "Front":
        """Read what `save` wrote."""
        path = Path(path)
        record = read_json(path)
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise RunError(f"`{path}` is not a front of this version of moalign (format {FORMAT}).")
        measure = record["hypervolume"]
        return Front(
            points=tuple(Point.from_record(point, path.parent) for point in record["points"]),
            dominated=tuple(Point.from_record(point, path.parent) for point in record["dominated"]),
            objectives=tuple(_objective(objective) for objective in record["objectives"]),
            reference_point=record["reference_point"],
            split=record["split"],
            prompts=record["prompts"],
            temperature=record["temperature"],
            stopped=tuple(record.get("stopped", ())),
            measured=None if measure is None else _measure(measure),
        )


def _objective(record: Mapping[str, Any]) -> Objective:
    return Objective(**{**record, "bounds": None if record["bounds"] is None else tuple(record["bounds"])})


def _measure(record: Mapping[str, Any]) -> Measure:
    unknown = {name: math.nan for name, value in record.items() if value is None}  # JSON has no NaN
    return Measure(**{**record, **unknown})


def _from_row(row: Mapping[Any, Any], objectives: Sequence[Objective], number: int) -> Point:
    values = {o.name: float(row[o.name]) for o in objectives}
    return Point(
        id=str(row.get("id", number)),
        values=values,
        stderr={o.name: float(row.get(f"{o.name}_stderr", math.nan)) for o in objectives},
        dev_values=values,
        feasible=is_feasible(values, objectives),
        kind=str(row.get("kind", "row")),
    )


def is_feasible(values: Numbers, objectives: Sequence[Objective]) -> bool:
    """Tell whether own-sign values meet every threshold; a missing value meets none."""
    limited = [o for o in objectives if o.threshold is not None]
    return all(bool(o.meets(torch.tensor(values[o.name], dtype=torch.float64))) for o in limited)
