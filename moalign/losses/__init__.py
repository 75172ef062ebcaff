"""Losses: what every token adds to the objective that an update descends.

A loss is ``(outputs, rows, credit) -> [row token channel]``, smaller is better; a reduction gives every token its
weight; the loop multiplies and adds. Nothing here knows micro-batches, members' parameters or optimizers.

| kind | parts | what it does |
| --- | --- | --- |
| `loss` | `PolicyLoss` `PreferenceLoss` `MODPO` `KL` `value_mse` `nll` | the terms a recipe adds up |
| `ratio` | `token_ratio` `sequence_ratio` | how far the policy moved since sampling |
| `bounds` | `constant_bounds` `dcpo_bounds` | how far it may |
| `surrogate` | `clipped_surrogate` `plain` | PPO's minimum; REINFORCE |
| `correction` | `truncated` `masked` | weights for tokens that another engine sampled |
| `score` | `summed` `averaged` `mixture` | what a completion scores in a pair |
| `link` | `dpo` `ipo` | what is made of a pair's margin |
| `kl` | `k1` `k2` `k3` `k3_ratio` | divergence from the run's start |
| `reduction` | `token_mean` `sequence_mean` `constant` `sequence_sum` | dapo and bnpo; grpo; dr_grpo; DCPO's kind |
| `reduction` | `balanced` | tokens averaged within one sign of the advantage |
| `reduction` | `positives` `ByTerm` | only completions that solved; another reduction for some terms |
"""

from moalign.losses.balanced import balanced
from moalign.losses.by_term import ByTerm
from moalign.losses.policy import (
    PolicyLoss,
    clipped_surrogate,
    constant_bounds,
    dcpo_bounds,
    masked,
    plain,
    sequence_ratio,
    token_ratio,
    truncated,
)
from moalign.losses.positives import positives
from moalign.losses.preference import MODPO, PreferenceLoss, averaged, dpo, ipo, mixture, summed
from moalign.losses.reductions import constant, sequence_mean, sequence_sum, token_mean
from moalign.losses.regularizers import KL, k1, k2, k3, k3_ratio
from moalign.losses.supervised import nll
from moalign.losses.value import value_mse

__all__ = [
    "KL",
    "MODPO",
    "ByTerm",
    "PolicyLoss",
    "PreferenceLoss",
    "averaged",
    "balanced",
    "clipped_surrogate",
    "constant",
    "constant_bounds",
    "dcpo_bounds",
    "dpo",
    "ipo",
    "k1",
    "k2",
    "k3",
    "k3_ratio",
    "masked",
    "mixture",
    "nll",
    "plain",
    "positives",
    "sequence_mean",
    "sequence_ratio",
    "sequence_sum",
    "summed",
    "token_mean",
    "token_ratio",
    "truncated",
    "value_mse",
]
