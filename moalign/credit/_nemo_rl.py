"""NeMo RL's advantages of several rewards (`nemo_rl/algorithms/advantage_estimator.py`, 2026), with their defaults."""

from dataclasses import dataclass
from typing import Any

from moalign.credit._at_advantage import AtAdvantage
from moalign.credit._at_reward import AtReward
from moalign.credit._leave_one_out_scaled import leave_one_out_scaled
from moalign.credit._pipeline import CreditPipeline
from moalign.credit._rescalers import batch_standardize
from moalign.parts import bind, part, register


@register("credit", "grpo-nemo-rl", paper="shao2024deepseekmath", test="tests/credit/test_presets.py::test_twins")
@dataclass(frozen=True)
class GRPONemoRL(CreditPipeline):
    """NeMo RL's ``grpo``: the weighted sum of rewards against mean and unbiased std of the *others* in its group.

    1e-6 is added to the std; where it is 0 the difference stays undivided. NeMo RL takes the std from the mean of
    squares, so that rounding can pass for a spread and be divided by; here equal rewards have std 0 exactly. It knows
    no missing rewards; here they are left out. Without ``use_leave_one_out_baseline`` it is ``grpo-verl``.
    """

    estimate: Any = part("estimator", bind(leave_one_out_scaled, eps=1e-6, tolerance=0.0, agreed="undivided"))
    collapse: Any = part("collapse", AtReward())


@register("credit", "gdpo-nemo-rl", paper="liu2026gdpo", test="tests/credit/test_presets.py::test_twins")
@dataclass(frozen=True)
class GDPONemoRL(CreditPipeline):
    """NeMo RL's ``gdpo``: each reward as in ``grpo-nemo-rl``, their sum standardized over the batch, nothing added."""

    estimate: Any = part("estimator", bind(leave_one_out_scaled, eps=1e-6, tolerance=0.0, agreed="undivided"))
    collapse: Any = part("collapse", AtAdvantage())
    rescale: Any = part("rescaler", bind(batch_standardize, eps=0.0))
