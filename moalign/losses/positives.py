"""The mean over completions that solved their prompt: with `nll`, imitation of the policy's own successes."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.losses.reductions import token_mean
from moalign.parts import check_names, register
from moalign.records import Credit, Rows


@register("reduction", "positives", paper="yue2025vapo", test="tests/losses/test_positives.py::test_by_hand")
def positives(rows: Rows, credit: Credit, *, solved: float = 1.0, objective: str = "") -> Float[Tensor, "row token"]:
    r"""Weigh a member's tokens :math:`\frac{1}{\sum_{i\in T}|o_i|}` in the completions :math:`T` that solved, others 0.

    With ``nll`` it is VAPO's positive-example loss. A completion :math:`o_i` solves when its reward is at least
    ``solved``: that of the named ``objective``, or without a name the sum of its rewards by the controller's weights,
    where a missing one counts as 0. A member without a success gets only 0. Yue et al. 2025, arXiv:2504.05118, 4.3.
    """
    if rows.rewards is None or credit.weights is None:
        raise ConfigError("`positives` picks rows by their rewards and `credit.weights`, and one of them is not there.")
    rewards, weights = rows.rewards, credit.weights
    if objective:
        check_names([objective], rewards.names, "positives.objective")
        weights = torch.eye(len(rewards.names)).to(weights)[rewards.names.index(objective)].expand_as(weights)
    reward = torch.where(rewards.valid, weights.to(rewards.values) * rewards.values, 0).sum(1)
    good = (rewards.valid & (weights != 0)).any(1) & (reward >= solved - 1e-6)  # weights sum to 1 up to rounding
    return token_mean(replace(rows, keep=rows.keep & good), credit)
