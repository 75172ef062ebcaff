"""TRL's ways of aggregating several rewards, number for number (TRL 1.16)."""

from dataclasses import dataclass
from typing import Any

from moalign.credit._at_advantage import AtAdvantage
from moalign.credit._at_reward import AtReward
from moalign.credit._group_relative import batch_scaled, group_relative
from moalign.credit._leave_one_out import leave_one_out
from moalign.credit._pipeline import CreditPipeline
from moalign.credit._rescalers import batch_standardize
from moalign.errors import ConfigError
from moalign.optimizers.scalarizers import Linear
from moalign.parts import bind, part, register

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


@register("credit", "grpo-trl", test="tests/parity/test_trl.py::test_presets")
@dataclass(frozen=True)
class GRPOTrl(CreditPipeline):
    """TRL's ``sum_then_normalize`` by name: `trl_sum_then_normalize` with the group's std."""

    estimate: Any = part("estimator", bind(group_relative, eps=1e-4))
    collapse: Any = part("collapse", AtReward(Linear(), missing="zero"))


@register("credit", "gdpo-trl", paper="liu2026gdpo", test="tests/parity/test_trl.py::test_presets")
@dataclass(frozen=True)
class GDPOTrl(CreditPipeline):
    """TRL's ``normalize_then_sum`` by name: `trl_normalize_then_sum`."""

    estimate: Any = part("estimator", bind(group_relative, eps=1e-4))
    collapse: Any = part("collapse", AtAdvantage())
    rescale: Any = part("rescaler", bind(batch_standardize, eps=1e-4))


@register("credit", "grpo-trl-async", test="tests/credit/test_presets.py::test_twins")
@dataclass(frozen=True)
class GRPOTrlAsync(CreditPipeline):
    """TRL's asynchronous GRPO: as ``sum_then_normalize``, but the std divides by n, and 1e-8 is added to it."""

    estimate: Any = part("estimator", bind(group_relative, eps=1e-8, unbiased=False))
    collapse: Any = part("collapse", AtReward(Linear(), missing="zero"))


@register("credit", "rloo-trl", paper="ahmadian2024rloo", test="tests/credit/test_presets.py::test_twins")
@dataclass(frozen=True)
class RLOOTrl(CreditPipeline):
    """TRL's RLOO without ``normalize_advantages``; with it, add `rescale` = ``"batch-standardize"``.

    The weighted sum of rewards, a missing one counted as 0, less the mean of the group's other completions.
    """

    estimate: Any = part("estimator", bind(leave_one_out))
    collapse: Any = part("collapse", AtReward(Linear(), missing="zero"))
