"""Constraints without multipliers: a completion that fails a judge earns nothing, whatever its rewards are."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._batch_centred import batch_centred
from moalign.credit._pipeline import CreditPipeline
from moalign.errors import ConfigError, nearest
from moalign.parts import bind, check_names, look_up_names, needs_of, part, register
from moalign.records import Credit, Metrics, Need, Rewards, Rows, State

PASSED = 0.5  # a judge's reward is 1 for yes and 0 for no; a share of several judges counts from half on


@register("credit", "calibrated", paper="xu2024cgpo", test="tests/credit/test_calibrated.py::test_worked_values")
@dataclass(frozen=True)
class Calibrated:
    r"""Credit of :math:`\sigma(r_k - b_k)\,[\text{all judges pass}]\,(1 - \mathrm{KL} / \mathrm{KL}_{\max})_+` (CRPG).

    :math:`r_k` are the rewards that are no judges', :math:`b_k` what the reference answer to the prompt earns: the
    value of the row's column ``baselines[k]`` (larger is better), or, where none is named, the member's mean over the
    prompt's completions. ``judges`` names objectives whose reward is 1 for pass and 0 for fail; a judge without a
    reward does not apply, so that tasks have judges of their own. KL is the sum of log-ratios to the reference over the
    completion, :math:`\mathrm{KL}_{\max}` ``max_kl``, 0 for none. ``inner`` makes advantages of what is left; the
    paper's subtracts the mean over the batch. Judges have no advantage of their own.

    What others see of the rewards (the controller, the records) is what was scored. Nothing is learned about how far
    to go: no multiplier, no threshold on a mean. Xu et al. 2024, arXiv:2409.20370; baselines as a mean are ours.
    """

    judges: tuple[str, ...] = ()
    baselines: Mapping[str, str] = field(default_factory=dict)
    max_kl: float = 0.0
    inner: Any = part("credit", CreditPipeline(estimate=bind(batch_centred)))

    def __post_init__(self) -> None:
        look_up_names(self)
        object.__setattr__(self, "judges", tuple(self.judges))
        if self.max_kl < 0:
            raise ConfigError(f"`max_kl` must not be negative, got {self.max_kl}; 0 is no limit.")

    @property
    def objectives(self) -> tuple[str, ...]:
        return (*self.judges, *self.baselines)

    @property
    def needs(self) -> frozenset[Need]:
        return needs_of(self.inner) | (frozenset({Need.REFERENCE}) if self.max_kl else frozenset())

    @property
    def scales_objectives(self) -> bool:
        """Whether a reward's own unit is lost before objectives are added up: it is, in the sigmoid."""
        return True

    def problems(self, recipe: Any) -> list[str]:
        """Judges must be named; and what `inner` says."""
        found = list(self.inner.problems(recipe)) if hasattr(self.inner, "problems") else []
        return found + (
            [] if self.judges else ["`credit` 'calibrated' has no `judges`; name the objectives that judge."]
        )

    def init(self, members: int, objectives: int) -> State:
        return self.inner.init(members, objectives)

    def __call__(
        self,
        rows: Rows,
        weights: Float[Tensor, "member #prompt #group objective"],
        gain: Float[Tensor, "member"],
        state: State,
    ) -> tuple[Credit, State]:
        """Return the inner credit of the calibrated rewards; rows without rewards go to it as they are."""
        if rows.rewards is None:
            return self.inner(rows, weights, gain, state)
        names = rows.rewards.names
        check_names(self.objectives, names, "judges")
        judge = torch.tensor([name in self.judges for name in names], device=rows.member.device)
        failed = rows.rewards.valid & judge & (rows.rewards.values < PASSED)
        allowed = (~failed.any(dim=1)).float() * self._near(rows)
        calibrated = torch.sigmoid(rows.rewards.values - self._baseline(rows, rows.rewards)) * allowed[:, None]
        valid = rows.rewards.valid & ~judge
        unit = torch.ones_like(rows.rewards.ideal)
        rewards = Rewards(torch.where(valid, calibrated, 0.0), valid, names, ideal=unit, nadir=torch.zeros_like(unit))
        credit, state = self.inner(replace(rows, rewards=rewards), weights, gain, state)
        said = _violations(rows, rows.rewards, failed, judge)
        return replace(credit, metrics={**credit.metrics, **said}), state

    def _baseline(self, rows: Rows, rewards: Rewards) -> Float[Tensor, "row objective"]:
        values, kept = rows.grid(rewards.values)
        valid = (rows.grid(rewards.valid.float())[0] > 0) & kept[..., None]
        mean = torch.where(valid, values, 0.0).sum(2, keepdim=True) / valid.sum(2, keepdim=True).clamp(min=1)
        baseline = rows.flat(mean.expand_as(values)).clone()
        for name, column in self.baselines.items():
            if column not in rows.columns:
                raise ConfigError(
                    f"`baselines` names the column {column!r}, not in the data{nearest(column, rows.columns)}"
                )
            baseline[:, rewards.names.index(name)] = torch.tensor([float(x) for x in rows.columns[column]]).to(baseline)
        return baseline

    def _near(self, rows: Rows) -> Float[Tensor, "row"]:
        """Return by how much a completion's distance from the reference reduces its reward."""
        if not self.max_kl:
            return torch.ones(len(rows), device=rows.member.device)
        sampled = rows.old_logprobs if rows.old_logprobs is not None else rows.behaviour_logprobs
        if sampled is None or rows.reference_logprobs is None:
            raise ConfigError("`max_kl` compares log-probabilities with the reference's, which these rows do not have.")
        kl = torch.where(rows.completion_mask, sampled - rows.reference_logprobs, 0.0).sum(dim=1)
        return (1 - kl / self.max_kl).clamp(min=0.0)


def _violations(
    rows: Rows, rewards: Rewards, failed: Bool[Tensor, "row objective"], judge: Bool[Tensor, "objective"]
) -> Metrics:
    """Return per member the share of its completions that fail each judge, and of those that fail any."""

    def share(what: Tensor, among: Tensor) -> Float[Tensor, "member"]:
        count = torch.zeros(2, rows.members, device=what.device)
        count.index_add_(1, rows.member, torch.stack([what & among, among]).float())
        return torch.where(count[1] > 0, count[0] / count[1].clamp(min=1), torch.nan)

    found = {
        f"constraint/{name}/violated": share(failed[:, k], rewards.valid[:, k] & rows.keep)
        for k, name in enumerate(rewards.names)
        if bool(judge[k])
    }
    return {**found, "constraint/violated": share(failed.any(dim=1), rows.keep)}
