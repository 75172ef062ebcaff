"""ms-swift's advantages of several rewards, number for number (`swift/rl_core/advantage.py`, 2026)."""

from dataclasses import dataclass
from typing import Any

from moalign.credit._at_advantage import AtAdvantage
from moalign.credit._at_reward import AtReward
from moalign.credit._group_relative import group_relative
from moalign.credit._pipeline import CreditPipeline
from moalign.credit._rescalers import batch_standardize
from moalign.parts import bind, part, register


@register("credit", "grpo-ms-swift", paper="shao2024deepseekmath", test="tests/credit/test_presets.py::test_twins")
@dataclass(frozen=True)
class GRPOMsSwift(CreditPipeline):
    """ms-swift's ``scale_rewards="group"``: every missing reward is 0, even in a completion that has none at all.

    The weighted sum is centred in its group and divided by an unbiased std plus 1e-4.
    """

    estimate: Any = part("estimator", bind(group_relative, eps=1e-4))
    collapse: Any = part("collapse", AtReward())
    missing: str = "zero"


@register("credit", "gdpo-ms-swift", paper="liu2026gdpo", test="tests/credit/test_presets.py::test_twins")
@dataclass(frozen=True)
class GDPOMsSwift(CreditPipeline):
    """ms-swift's ``scale_rewards="gdpo"``: each reward standardized in its group, the sum over the batch, with 1e-8.

    A missing reward is left out of its group's mean and std and adds 0; a completion without any is part of the batch.
    Where equal rewards do not cancel exactly, ms-swift's 1e-8 turns their rounding into advantages; here it is 0.
    """

    estimate: Any = part("estimator", bind(group_relative, eps=1e-8))
    collapse: Any = part("collapse", AtAdvantage())
    rescale: Any = part("rescaler", bind(batch_standardize, eps=1e-8))
    missing: str = "mean"
