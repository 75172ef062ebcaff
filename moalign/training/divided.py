"""A recipe in a process that holds some of the members: its controller and its breeder still see all of them."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.mates import host
from moalign.parts import PerMember
from moalign.records import Metrics, Points, Policy, Rows, Setting, Signals, State
from moalign.training.breed import NoBreeding
from moalign.training.gather import tensors_of
from moalign.training.ranks import Ranks
from moalign.training.recipe import Recipe, moving
from moalign.training.session import resume_from
from moalign.training.shares import cut, cut_state, light, stacked, stacked_metrics, take_all
from moalign.weighting import Controller
from moalign.weighting.controller import Weights


def divided(recipe: Recipe, ranks: Ranks) -> Recipe:
    """Return the recipe as this process runs it."""
    if ranks.size == 1:
        return recipe
    for path, value in moving(recipe).items():
        if path.startswith(("weighting.", "breed.")) and isinstance(value, PerMember):
            raise ConfigError(f"`recipe.{path}` is set per member, which it can be in a single process only.")
    breed = recipe.breed if isinstance(recipe.breed, NoBreeding) else BreedAll(recipe.breed, ranks)
    return replace(recipe, weighting=WeighAll(recipe.weighting, ranks), breed=breed)


@dataclass(frozen=True)
class WeighAll(Controller):
    """A controller that learns from every process's members, and weighs this process's."""

    inner: Any
    ranks: Ranks

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        return self.inner.init(torch.cat(self.ranks.each(preferences)), setting)

    def weigh(self, state: State, rows: Rows) -> Weights:
        known = tensors_of(state)
        if not known:  # it goes by the rows alone
            return self.inner.weigh(state, rows)
        many = len(known[0][1])
        own = self.ranks.share(many)
        weights, gain = self.inner.weigh(state, replace(rows, members=many, member=rows.member + own.start))
        return weights[own.start : own.stop], gain[own.start : own.stop]

    def observe(self, state: State, signals: Signals) -> State:
        each = {name: value for name, value in signals.metrics.items() if value.ndim}
        told = self.ranks.each(host({"means": signals.means, "stds": signals.stds, "metrics": each}))
        members = [len(part["means"]) for part in told]
        metrics = stacked_metrics([part.pop("metrics") for part in told], members, members)
        return self.inner.observe(state, replace(signals, **stacked(told), metrics=metrics))

    def metrics(self, state: State, names: tuple[str, ...]) -> Metrics:
        said = getattr(self.inner, "metrics", None)
        return said(state, names) if said is not None else {}


@dataclass(frozen=True)
class BreedAll:
    """A breeder that sees every process's members; where it clones, drops or reorders any, all are divided anew.

    It is first asked with a policy that cannot be gathered and a state without what is large, so that parameters
    travel only when members change. A breeder is deterministic: every process gets the same answer.
    """

    inner: Any
    ranks: Ranks

    def __call__(self, policy: Policy, state: State, points: Points) -> tuple[Policy, State]:
        small = {name: value for name, value in light(state).items() if name not in ("weighting", "collect")}
        seen = stacked(self.ranks.each(host({"state": small, "values": points.values, "names": points.names})))
        points = replace(points, values=seen["values"], names=seen["names"])
        try:
            asked = {**seen["state"], "weighting": state["weighting"]}
            _, told = self.inner(_fixed(policy, points.names), asked, points)
        except _Changes:
            policy, bred = self.inner(policy, take_all(policy, state, self.ranks), points)
            saved = {"policy": dict(policy.snapshot().tensors), "state": bred, "members": list(policy.members)}
            return policy, resume_from(policy, cut(saved, self.ranks))
        own = list(self.ranks.share(len(points.names)))
        return policy, {**state, **cut_state({**told, "update": {}}, own), "update": state["update"]}


class _Changes(Exception):
    """The breeder wants to gather members."""


def _fixed(policy: Policy, names: tuple[str, ...]) -> Policy:
    """Return the policy under the names of all members; it cannot be gathered."""
    fixed: Any = copy.copy(policy)
    fixed.members, fixed.gather = names, _refused
    return fixed


def _refused(parents: Sequence[int], names: Sequence[str]) -> None:
    raise _Changes
