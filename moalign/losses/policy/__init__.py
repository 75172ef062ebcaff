"""Policy losses: how far the policy moved, how far it may, what is gained by moving, and who sampled."""

from moalign.losses.policy._bounds import constant_bounds
from moalign.losses.policy._correction import masked, truncated
from moalign.losses.policy._dcpo import dcpo_bounds
from moalign.losses.policy._loss import PolicyLoss
from moalign.losses.policy._ratio import sequence_ratio, token_ratio
from moalign.losses.policy._surrogate import clipped_surrogate, plain

__all__ = [
    "PolicyLoss",
    "clipped_surrogate",
    "constant_bounds",
    "dcpo_bounds",
    "masked",
    "plain",
    "sequence_ratio",
    "token_ratio",
    "truncated",
]
