"""TRL's two ways of aggregating several rewards, number for number (TRL 1.16, `GRPOTrainer`)."""

from moalign.credit._at_advantage import AtAdvantage
from moalign.credit._at_reward import AtReward
from moalign.credit._group_relative import batch_scaled, group_relative
from moalign.credit._pipeline import CreditPipeline
from moalign.credit._rescalers import batch_standardize
from moalign.errors import ConfigError
from moalign.optimizers.scalarizers import Linear
from moalign.parts import bind

ESTIMATORS = {
    "group": bind(group_relative, eps=1e-4),
    "batch": bind(batch_scaled, eps=1e-4),
    "none": bind(group_relative, scale=False),
}


def trl_sum_then_normalize(*, scale_rewards: str = "group") -> CreditPipeline:
    """Return TRL's default: the weighted sum of rewards is centred in its group and divided by a std plus 1e-4.

    `scale_rewards` is whose std: the group's, the batch's, or none. A missing reward counts as 0; a completion with no
    reward at all has no part in the means and gets advantage 0.
    """
    if scale_rewards not in ESTIMATORS:
        raise ConfigError(f"`scale_rewards` must be one of {', '.join(ESTIMATORS)}, got {scale_rewards!r}.")
    return CreditPipeline(estimate=ESTIMATORS[scale_rewards], collapse=AtReward(Linear(), missing="zero"))


def trl_normalize_then_sum() -> CreditPipeline:
    """Return TRL's GDPO: each reward standardized in its group, the weighted sum standardized over the batch.

    TRL ignores ``scale_rewards`` here. A missing reward adds 0; a completion with no reward at all gets advantage 0.
    """
    return CreditPipeline(
        estimate=bind(group_relative, eps=1e-4), collapse=AtAdvantage(), rescale=bind(batch_standardize, eps=1e-4)
    )
