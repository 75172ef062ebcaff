"""Credit: from a batch's reward vectors to an advantage for every token.

`CreditPipeline` binds one part of each kind; the collapse decides where the vector becomes a number. `GAE` reads value
heads instead, and credits every token by itself.

| kind | parts | what it does |
| --- | --- | --- |
| `normalizer` | `none` `group` `batch` `Running` | fits a map of rewards that also moves the ideal (`Affine`) |
| `estimator` | `group_relative` `batch_scaled` `leave_one_out` `batch_centred` | rewards to advantages |
| `collapse` | `AtReward` `AtAdvantage` `AtGradient` | scalarize rewards; add advantages; leave channels to the update |
| `rescaler` | `batch_standardize` `to_std` | sets the size of a member's advantages |
| `placement` | `spread` `Routed` | which tokens get it |

>>> GRPO = CreditPipeline()                                                   # sum the rewards, then normalize
>>> MO_GRPO = CreditPipeline(collapse="at_advantage")                         # normalize each, then sum
>>> GDPO = CreditPipeline(collapse="at_advantage", rescale="batch_standardize")
>>> GDPO.estimate is GRPO.estimate, GDPO.rescale.fn is batch_standardize
(True, True)
"""

from moalign.credit._affine import Affine
from moalign.credit._at_advantage import AtAdvantage
from moalign.credit._at_gradient import AtGradient
from moalign.credit._at_reward import AtReward
from moalign.credit._batch_centred import batch_centred
from moalign.credit._gae import GAE
from moalign.credit._group_relative import batch_scaled, group_relative
from moalign.credit._leave_one_out import leave_one_out
from moalign.credit._normalizers import batch, group, none
from moalign.credit._pipeline import CreditPipeline
from moalign.credit._rescalers import batch_standardize, to_std
from moalign.credit._routed import Routed
from moalign.credit._running import Running
from moalign.credit._spread import spread
from moalign.credit._trl import trl_normalize_then_sum, trl_sum_then_normalize

__all__ = [
    "GAE",
    "Affine",
    "AtAdvantage",
    "AtGradient",
    "AtReward",
    "CreditPipeline",
    "Routed",
    "Running",
    "batch",
    "batch_centred",
    "batch_scaled",
    "batch_standardize",
    "group",
    "group_relative",
    "leave_one_out",
    "none",
    "spread",
    "to_std",
    "trl_normalize_then_sum",
    "trl_sum_then_normalize",
]
