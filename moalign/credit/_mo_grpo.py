"""Each objective standardized in its group, then weighted and added up; no further step."""

from dataclasses import dataclass
from typing import Any

from moalign.credit._at_advantage import AtAdvantage
from moalign.credit._group_relative import group_relative
from moalign.credit._pipeline import CreditPipeline
from moalign.parts import bind, part, register


@register("credit", "mo-grpo", paper="ichihara2025mogrpo", test="tests/credit/test_collapses.py::test_golden_mo_grpo")
@dataclass(frozen=True)
class MOGRPO(CreditPipeline):
    r"""Add up the objectives' own advantages, :math:`A_i=\sum_k w_k(r_{ik}-\mu_{gk})/(\sigma_{gk}+\epsilon)` (MO-GRPO).

    GDPO without its batch step, so that the size of a step shrinks as groups fall silent. Invariant to shifting and
    scaling any reward. Ichihara et al. 2025, arXiv:2509.22047.
    """

    estimate: Any = part("estimator", bind(group_relative, eps=1e-4))
    collapse: Any = part("collapse", AtAdvantage())


@register("credit", "mrn", paper="zhu2026refine", test="tests/credit/test_presets.py::test_mrn_is_mo_grpo")
@dataclass(frozen=True)
class MRN(MOGRPO):
    """Multi-reward normalization (ReFine-RFT): the same sum as MO-GRPO, found independently; std unbiased plus 1e-4.

    Zhu et al. 2026, arXiv:2601.06993, numbers as in its code.
    """
