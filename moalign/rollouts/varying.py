"""A filter after sampling: groups in which no reward varies teach nothing, and are not trained on."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import look_up_names, part, register
from moalign.records import Environment, Policy, Rows, State
from moalign.rollouts.collect import Sample


def varying(rows: Rows, state: State, now: Any) -> Bool[Tensor, "member prompt"]:
    """Tell in which groups a reward with weight differs between kept completions, by more than rounding.

    The *vector* is looked at: a group whose rewards trade off one for one varies, though their sum does not. Weights
    are what the controller of the recipe `now` gives; neither an objective of weight 0 nor a missing reward counts.
    """
    if rows.rewards is None:
        raise ConfigError("Groups are judged by their rewards, and this collector's rows have none.")
    values, kept = rows.grid(rows.rewards.values)
    valid = (rows.grid(rows.rewards.valid.to(values))[0] > 0) & kept[..., None]
    weights, _ = now.weighting.weigh(state["weighting"], rows)
    low = torch.where(valid, values, torch.inf).amin(2)
    high = torch.where(valid, values, -torch.inf).amax(2)
    differ = (high - low) > 1e-6 * torch.maximum(low.abs(), high.abs())
    return (differ & (weights.to(values) != 0).any(2)).any(2)


@register(
    "collector",
    "varying-groups",
    paper="yu2025dapo",
    test="tests/rollouts/test_varying.py::test_drops_a_group_only_when_no_weighted_reward_varies",
)
@dataclass(frozen=True)
class VaryingGroups:
    """Collect with `inner` and drop the groups of a member in which no reward with weight varies.

    Dropped rows have no credit and no loss: no divergence from the reference is charged for them either, and means over
    rows or tokens are of the others. DAPO (Yu et al. 2025, arXiv:2503.14476) drops groups by one reward, and draws
    further prompts in their place, which is `DynamicSampling`; judged by a sum of several rewards, groups that trade
    one for another would be lost.
    """

    inner: Any = part("collector", Sample())

    def __post_init__(self) -> None:
        look_up_names(self)

    @property
    def columns(self) -> tuple[str, ...]:
        return getattr(self.inner, "columns", ())  # of the data; checked before training

    def problems(self, recipe: Any) -> list[str]:
        return self.inner.problems(recipe) if hasattr(self.inner, "problems") else []

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        rows, state = self.inner(policy, env, state, now)
        return replace(rows, keep=rows.keep & varying(rows, state, now)[rows.member, rows.group]), state
