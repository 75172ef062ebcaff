"""The closure an update differentiates: all loss terms on one micro-batch, summed per member and channel."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.records import START, Couples, Credit, Need, Policy, Rows


@dataclass(frozen=True)
class TotalLoss:
    """Sum of the terms on the rows of a micro-batch, with token weights taken from the whole batch.

    Called with rows it returns ``member channel``; what a channel's preference is stands in `preferences`.
    """

    policy: Policy
    terms: Mapping[str, Callable[..., Any]]
    credit: Credit
    token_weights: Float[Tensor, "row token"]
    preferences: Float[Tensor, "member channel"]
    needs: frozenset[Need]
    couples: Couples

    def __call__(self, part: Rows) -> Float[Tensor, "member channel"]:
        outputs = self.policy.forward(part, self.needs)
        length = outputs.logprobs.shape[1]
        credit = replace(
            self.credit,
            advantages=self.credit.advantages[part.index, :length],
            targets=None if self.credit.targets is None else self.credit.targets[part.index],
            weights=None if self.credit.weights is None else self.credit.weights[part.index],
        )
        weights = self.token_weights[part.index, :length]
        per_token = sum(term(outputs, part, credit) for term in self.terms.values())
        assert isinstance(per_token, Tensor)
        # masked positions may hold anything, NaN included: they are cut out, not multiplied away
        per_row = torch.where(weights[..., None] != 0, per_token * weights[..., None], 0.0).sum(dim=1)
        channels = max(per_row.shape[1], self.preferences.shape[1])
        return per_row.new_zeros(part.members, channels).index_add(0, part.member, per_row.expand(-1, channels))


def complete(policy: Policy, rows: Rows, *, needs: frozenset[Need], couples: Couples, passes: int) -> Rows:
    """Add the log-probabilities that losses compare with: the trainer's own before several passes, and the start's."""
    if passes > 1:
        rows = replace(rows, old_logprobs=_logprobs(policy, rows, couples))
    if Need.REFERENCE in needs:
        rows = replace(rows, reference_logprobs=_logprobs(policy, rows, couples, at_start=True))
    return rows


@torch.no_grad()
def _logprobs(policy: Policy, rows: Rows, couples: Couples, at_start: bool = False) -> Float[Tensor, "row token"]:
    out = torch.zeros(rows.tokens.shape, device=rows.tokens.device)
    for part in policy.split(rows, couples=couples):
        found = policy.forward(part, frozenset({Need.LOGPROBS}), at=START if at_start else None).logprobs
        out[part.index, : found.shape[1]] = found.float()
    return out
