"""Policy losses: how far the policy moved, how far it may, and what is gained by moving."""

from moalign.losses.policy._bounds import constant_bounds
from moalign.losses.policy._dcpo import dcpo_bounds
from moalign.losses.policy._loss import PolicyLoss
from moalign.losses.policy._ratio import sequence_ratio, token_ratio
from moalign.losses.policy._surrogate import clipped_surrogate, plain

__all__ = [
    "PolicyLoss",
    "clipped_surrogate",
    "constant_bounds",
    "dcpo_bounds",
    "plain",
    "sequence_ratio",
    "token_ratio",
]
