"""The advantages of NVlabs' own code for GDPO in TRL 0.18; what it does in verl is ``gdpo-verl``."""

from dataclasses import dataclass
from typing import Any

from moalign.credit._at_advantage import AtAdvantage
from moalign.credit._group_relative import group_relative
from moalign.credit._pipeline import CreditPipeline
from moalign.credit._rescalers import batch_standardize
from moalign.parts import bind, part, register


@register("credit", "gdpo-nvlabs", paper="liu2026gdpo", test="tests/credit/test_presets.py::test_twins")
@dataclass(frozen=True)
class GDPONvlabs(CreditPipeline):
    """GDPO as its authors run it: missing rewards are 0 *before* each reward is standardized, which biases the means.

    Both stds are unbiased, 1e-4 is added to both, every completion is part of the batch. Their GRPO beside it is
    ``grpo-ms-swift``. Liu et al. 2026, arXiv:2601.05242.
    """

    estimate: Any = part("estimator", bind(group_relative, eps=1e-4))
    collapse: Any = part("collapse", AtAdvantage())
    rescale: Any = part("rescaler", bind(batch_standardize, eps=1e-4))
    missing: str = "zero"
