"""What a report shows, as plain data, read from run directories."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moalign.errors import ConfigError
from moalign.fronts import Front
from moalign.runs import RunDirectory

HYPERVOLUME = "pareto/hypervolume"  # the training curve's name in metrics


@dataclass(frozen=True)
class RunData:
    """One run: its front, one record of metrics per step, and what it was."""

    name: str
    front: Front
    metrics: Sequence[Mapping[str, Any]] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)

    def curve(self) -> tuple[list[int], list[float | None]]:
        """Return steps and the hypervolume of the members' running means."""
        seen = [r for r in self.metrics if HYPERVOLUME in r]
        return [r["step"] for r in seen], [r[HYPERVOLUME] for r in seen]

    def weights(self) -> dict[str, dict[str, list[tuple[int, float]]]]:
        """Return, for each member and objective, the (step, weight) pairs; members may come and go.

        >>> front = Front.from_frame({"a": [1.0]}, ["a"])
        >>> RunData("r", front, [{"step": 0, "members": ["m00"], "weights/a": [0.5]}]).weights()
        {'m00': {'a': [(0, 0.5)]}}
        """
        out: dict[str, dict[str, list[tuple[int, float]]]] = {}
        for record in self.metrics:
            for key, values in record.items():
                if not key.startswith("weights/"):
                    continue
                for member, value in zip(record["members"], values):
                    lines = out.setdefault(member, {})
                    lines.setdefault(key.removeprefix("weights/"), []).append((record["step"], _number(value)))
        return out


@dataclass(frozen=True)
class ReportData:
    """A study beside its baselines."""

    title: str
    study: RunData
    baselines: tuple[RunData, ...] = ()
    command: str = ""  # what made it

    def __post_init__(self) -> None:
        names = [run.name for run in self.runs]
        if len(set(names)) < len(names):
            raise ConfigError(f"`baselines`: runs are called {', '.join(names)}; give each its own name.")

    @property
    def runs(self) -> tuple[RunData, ...]:
        """The study first."""
        return (self.study, *self.baselines)


def collect_run(path: str | Path, *, name: str | None = None) -> RunData:
    """Read a finished run; it is called `name`, or as its directory."""
    run = RunDirectory(path)
    return RunData(
        name=name or run.path.resolve().name,
        front=Front.from_json(run.front_path),
        metrics=run.read_metrics(),
        spec=run.spec if run.spec_path.exists() else {},
        status=run.status,
    )


def collect_report(
    path: str | Path,
    baselines: Sequence[str | Path] | Mapping[str, str | Path] = (),
    *,
    title: str | None = None,
    name: str | None = None,
    command: str = "",
) -> ReportData:
    """Read a run and its baselines (directories, or names to directories)."""
    study = collect_run(path, name=name)
    named = baselines.items() if isinstance(baselines, Mapping) else [(None, p) for p in baselines]
    others = tuple(collect_run(p, name=n) for n, p in named)
    return ReportData(title=title or study.name, study=study, baselines=others, command=command)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
