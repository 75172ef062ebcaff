"""The credit of a run's stored completions, by the parts that trained them or by others; no model is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit import CreditPipeline, spread
from moalign.diagnostics._record import from_record, objectives_of
from moalign.errors import ConfigError, RunError, UnknownNameError, nearest
from moalign.objectives import Objective, ideal_nadir
from moalign.parts import bind, canonical, look_up_names, part
from moalign.recipes import RECIPES
from moalign.records import Rewards, Rows, State
from moalign.runs import RunDirectory
from moalign.training.recipe import Recipe, knobs, resolve

if TYPE_CHECKING:
    import pandas as pd

FACTOR = "advantages/rescaled_by"  # a metric of the credit pipeline
SIZES = ("steps", "prompts_per_step", "num_generations", "max_completion_length")  # of a recipe: numbers may be `Same`


@dataclass(frozen=True)
class Credited:
    """What of a recipe a replay can change: how rewards become credit."""

    credit: Any = part("credit", CreditPipeline())

    def __post_init__(self) -> None:
        look_up_names(self)


@dataclass(frozen=True)
class Replay:
    """By what stored completions are credited; `moalign.parts.put` changes it by path.

    `recipe` may be the name of one, which stands for its credit; a weight of None is what the run's controller gave.
    """

    recipe: Any
    objectives: tuple[Objective, ...]
    weights: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.recipe, str):
            if canonical(self.recipe) not in RECIPES:
                raise UnknownNameError(f"no recipe is called `{self.recipe}`{nearest(canonical(self.recipe), RECIPES)}")
            object.__setattr__(self, "recipe", Credited(RECIPES[canonical(self.recipe)]().credit))
        for name, value in self.weights.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ConfigError(f"`weights.{name}` must be a number, not {value!r}.")

    def problems(self) -> list[str]:
        """Return why rollouts do not suffice for this credit."""
        credit = self.recipe.credit
        if not isinstance(credit, CreditPipeline):
            return ["`recipe.credit` reads value heads, which rollouts do not keep; try --set credit=pipeline."]
        if credit.place != bind(spread):
            return ["`recipe.credit.place` reads segments, which rollouts do not keep; try --set credit.place=spread."]
        return []


@dataclass(frozen=True)
class Kept:
    """What a run kept of one step."""

    step: int
    progress: float
    members: tuple[str, ...]
    table: "pd.DataFrame"
    weights: Mapping[str, Float[Tensor, "member"]]  # by objective
    gain: Float[Tensor, "member"]
    factor: Float[Tensor, "member"]  # by which advantages were rescaled over the whole batch

    @property
    def member(self) -> list[int]:
        """Each row's member, by number."""
        return [self.members.index(name) for name in self.table["member"]]


@dataclass(frozen=True)
class Stored:
    """What a run kept: how it credited, and the completions of every kept step."""

    path: Path
    spec: Mapping[str, Any]
    replay: Replay
    steps: tuple[Kept, ...]


def stored(path: str | Path) -> Stored:
    """Return what the run in a directory kept; `RunError` where it kept no completions."""
    run = RunDirectory(path)
    if not run.spec_path.exists():
        raise RunError(f"`{path}` is not a run directory: it has no spec.json.")
    files = sorted((run.path / "rollouts").glob("step-*.parquet"))
    if not files:
        raise RunError(f"`{path}` has no rollouts; a study keeps some with `save_rollouts` above 0.")
    spec, metrics = run.spec, {record["step"]: record for record in run.read_metrics()}
    objectives = objectives_of(spec)
    replay = Replay(
        recipe=Credited(from_record(spec["recipe"]["credit"], "credit")),
        objectives=objectives,
        weights={o.name: None for o in objectives},
    )
    steps = []
    for step in (int(file.stem.removeprefix("step-")) for file in files):
        if step not in metrics:  # replayed since: training was killed before it came here again
            continue
        record = metrics[step]
        steps.append(
            Kept(
                step=step,
                progress=step / spec["recipe"]["steps"],
                members=tuple(record["members"]),
                table=run.read_rollouts(step),
                weights={o.name: torch.tensor(record[f"weights/{o.name}"]) for o in objectives},
                gain=torch.tensor(record["gain"], dtype=torch.float32),
                factor=torch.tensor(record.get(FACTOR, [1.0] * len(record["members"])), dtype=torch.float32),
            )
        )
    if not steps:
        raise RunError(f"the metrics of `{path}` do not reach the steps whose rollouts it has; run the study again.")
    return Stored(run.path, spec, replay, tuple(steps))


Scores = tuple[Float[Tensor, "row objective"], Bool[Tensor, "row objective"]]


def own_scores(kept: Kept, objectives: Sequence[Objective]) -> Scores:
    """Return the rewards that stand in the rollouts, larger is better, and whether they apply."""
    columns = [kept.table[f"reward/{o.name}"].to_numpy(dtype=np.float64, na_value=np.nan) for o in objectives]
    raw = torch.tensor(np.stack(columns, axis=1), dtype=torch.float32)
    valid = raw.isfinite()
    signs = torch.tensor([float(o.sign) for o in objectives])
    return torch.where(valid, raw * signs, 0.0), valid


@dataclass(frozen=True)
class Replayed:
    """One step's advantages, as the credit of a replay gives them."""

    advantages: Float[Tensor, "row"]
    factor: Float[Tensor, "row"]  # by which the run rescaled over its whole batch, over that of the kept groups


def credit_of(
    replay: Replay, sizes: Mapping[str, Any], steps: Sequence[Kept], scores: Sequence[Scores]
) -> list[Replayed]:
    """Return the advantage of every stored completion, step by step, as the credit of `replay` gives it.

    Objectives that credit keeps apart are added up by their weights. What credit remembers from step to step comes from
    the kept steps only, and what it takes over a batch from the kept groups only.
    """
    state: State = {}
    members: tuple[str, ...] = ()
    found = []
    for kept, (values, valid) in zip(steps, scores, strict=True):
        whole = Recipe(name="replay", credit=replay.recipe.credit, losses={"none": bind(_nothing)}, **sizes)
        credit = resolve(whole, kept.progress, knobs(whole, len(kept.members))).credit
        if kept.members != members:  # bred: what it remembered was of others
            state, members = credit.init(len(kept.members), len(replay.objectives)), kept.members
        weights = weights_of(replay, kept)
        given, state = credit(_rows(replay.objectives, kept, values, valid), weights[:, None, None], kept.gain, state)
        each = given.advantages[:, 0]
        member = torch.tensor(kept.member)
        single = each[:, 0] if each.shape[1] == 1 else (each * weights[member]).sum(dim=1)
        seen = given.metrics[FACTOR]
        found.append(Replayed(single, torch.where(seen != 0, kept.factor / torch.where(seen != 0, seen, 1), 1)[member]))
    return found


def weights_of(replay: Replay, kept: Kept) -> Float[Tensor, "member objective"]:
    """Return the weights of a step's members: those that are set, else the run's own."""
    columns = []
    for o in replay.objectives:
        value = replay.weights.get(o.name)
        if value is None and o.name not in kept.weights:
            raise ConfigError(f"objective `{o.name}` is new and has no weight; give one: --set weights.{o.name}=0.5.")
        columns.append(kept.weights[o.name] if value is None else torch.full((len(kept.members),), float(value)))
    return torch.stack(columns, dim=1).float()


def _rows(objectives: Sequence[Objective], kept: Kept, values: Tensor, valid: Tensor) -> Rows:
    """Return stored completions as a batch of rows; each stands for its text with a single token."""
    table = kept.table
    count = len(table)
    one, true = torch.zeros((count, 1), dtype=torch.long), torch.ones((count, 1), dtype=torch.bool)
    ideal, nadir = ideal_nadir(objectives)
    return Rows(
        members=len(kept.members),
        member=torch.tensor(kept.member),
        prompt_id=torch.tensor(table["prompt_id"].to_numpy()),
        group=torch.tensor(table["group"].to_numpy()),
        prompt_tokens=one,
        prompt_mask=true,
        tokens=one,
        completion_mask=true,
        train_mask=true,
        keep=torch.tensor(table["kept"].to_numpy(dtype=bool)),
        temperature=torch.ones(count),
        index=torch.arange(count),
        rewards=Rewards(values, valid, tuple(o.name for o in objectives), ideal, nadir),
        columns={name: table[name].tolist() for name in ("prompt", "completion")},
    )


def _nothing() -> None:
    """Stand for the losses, which a replay has no use for."""
