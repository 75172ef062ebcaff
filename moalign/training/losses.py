"""The closure an update differentiates: all loss terms on one micro-batch, summed per member and channel."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.records import START, Couples, Credit, Metrics, Need, Policy, Rows
from moalign.rollouts.logprobs import logprobs_of, outputs_of


@dataclass(frozen=True)
class TotalLoss:
    """Sum of the terms on the rows of a micro-batch, with token weights taken from the whole batch.

    Called with rows it returns ``member channel``; what a channel's preference is stands in `preferences`. Token
    weights that differ between terms go by a term's name, and ``""`` weighs all the others.
    """

    policy: Policy
    terms: Mapping[str, Callable[..., Any]]
    credit: Credit
    token_weights: Float[Tensor, "row token"] | Mapping[str, Float[Tensor, "row token"]]
    preferences: Float[Tensor, "member channel"]
    needs: frozenset[Need]
    couples: Couples

    def __call__(self, part: Rows) -> Float[Tensor, "member channel"]:
        outputs = self.policy.forward(part, self.needs)
        length = outputs.logprobs.shape[1]
        credit = replace(
            self.credit,
            advantages=self.credit.advantages[part.index, :length],
            targets=None if self.credit.targets is None else self.credit.targets[part.index, :length],
            weights=None if self.credit.weights is None else self.credit.weights[part.index],
        )
        weights = self.token_weights if isinstance(self.token_weights, Mapping) else {"": self.token_weights}
        summed: dict[str, Any] = {}  # the terms of each weighting; they are weighted once
        for name, term in self.terms.items():
            key = name if name in weights else ""
            summed[key] = summed.get(key, 0) + term(outputs, part, credit)
        per_row = sum(_per_row(losses, weights[key][part.index, :length]) for key, losses in summed.items())
        assert isinstance(per_row, Tensor)
        channels = max(per_row.shape[1], self.preferences.shape[1])
        return per_row.new_zeros(part.members, channels).index_add(0, part.member, per_row.expand(-1, channels))

    def metrics(self, rows: Rows) -> Metrics:
        """Return what the terms say of the whole batch; a term says it in ``metrics(rows)``."""
        asked = [term.metrics for term in self.terms.values() if hasattr(term, "metrics")]
        return {name: value for metrics in asked for name, value in metrics(rows).items()}


def _per_row(losses: Float[Tensor, "row token channel"], weights: Float[Tensor, "row token"]) -> Tensor:
    # masked positions may hold anything, NaN included: they are cut out, not multiplied away
    return torch.where(weights[..., None] != 0, losses * weights[..., None], 0.0).sum(dim=1)


def complete(policy: Policy, rows: Rows, *, needs: frozenset[Need], couples: Couples, passes: int) -> Rows:
    """Add what losses and credit compare with: the policy's own log-probabilities and values, and the start's.

    Log-probabilities only before several passes, or if needed; with a single one they are the loss's own.
    """
    old = passes > 1 or Need.OLD in needs
    if Need.OLD_VALUES in needs:
        found = outputs_of(policy, rows, frozenset({Need.LOGPROBS, Need.VALUES}), couples=couples)
        rows = replace(rows, old_values=found.values, old_logprobs=found.logprobs if old else rows.old_logprobs)
    elif old:
        rows = replace(rows, old_logprobs=logprobs_of(policy, rows, couples=couples))
    if Need.REFERENCE in needs:
        rows = replace(rows, reference_logprobs=logprobs_of(policy, rows, couples=couples, at=START))
    return rows
