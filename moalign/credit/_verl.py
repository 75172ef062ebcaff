"""verl's advantages of several rewards, number for number (`verl/trainer/ppo/core_algos.py`, 2026)."""

from dataclasses import dataclass
from typing import Any

from moalign.credit._at_advantage import AtAdvantage
from moalign.credit._at_reward import AtReward
from moalign.credit._group_relative import group_relative
from moalign.credit._pipeline import CreditPipeline
from moalign.credit._rescalers import token_whiten
from moalign.parts import bind, part, register


@register("credit", "grpo-verl", paper="shao2024deepseekmath", test="tests/credit/test_presets.py::test_twins")
@dataclass(frozen=True)
class GRPOVerl(CreditPipeline):
    """verl's ``grpo``: the weighted sum of rewards, centred in its group, divided by an unbiased std plus 1e-6.

    verl knows no missing rewards, and a group of one keeps its reward; here what is missing is left out, and a group of
    one gets 0.
    """

    estimate: Any = part("estimator", bind(group_relative, eps=1e-6))
    collapse: Any = part("collapse", AtReward())


@register("credit", "gdpo-verl", paper="liu2026gdpo", test="tests/credit/test_presets.py::test_twins")
@dataclass(frozen=True)
class GDPOVerl(CreditPipeline):
    """verl's ``gdpo``, and NVlabs' own in verl: each reward as in ``grpo-verl``, the sum whitened over *tokens*.

    The root of the tokens' unbiased variance plus 1e-8 divides what is left after their mean. What is missing, and a
    group of one, are as in ``grpo-verl``.
    """

    estimate: Any = part("estimator", bind(group_relative, eps=1e-6))
    collapse: Any = part("collapse", AtAdvantage())
    rescale: Any = part("rescaler", bind(token_whiten, eps=1e-8))
