"""The best among completions, by any of their rewards."""

from dataclasses import replace

import torch

from moalign.records import Rows
from moalign.rollouts.reward_text import rewards_of


def best(rows: Rows, quantile: float) -> Rows:
    """Return the rows, of which only those are kept that reach a quantile of their member's rewards in some objective.

    At 0.7 and of one objective these are the best three in ten (`select_data_with_quantile` of the paper's code).
    """
    values, valid = rewards_of(rows)
    known, kept = rows.grid(values.masked_fill(~valid, torch.nan))
    least = known.masked_fill(~kept[..., None], torch.nan).flatten(1, 2).nanquantile(quantile, dim=1)
    return replace(rows, keep=rows.keep & (values >= least[rows.member]).logical_and(valid).any(dim=1))
