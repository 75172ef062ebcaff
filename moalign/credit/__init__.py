"""Credit: from a batch's reward vectors to an advantage for every token.

`CreditPipeline` binds one part of each kind; the collapse decides where the vector becomes a number. What other
trainers compute goes by name: ``credit="gdpo-verl"``, ``"grpo-nemo-rl"`` and so on are pipelines with their numbers.
`GAE` reads value heads instead, and credits every token by itself; `Steps` reads rewards of segments, `SetValue` takes
segments for a set of answers.

| kind | parts | what it does |
| --- | --- | --- |
| `normalizer` | `none` `group` `batch` `Running` `Quantile` | a map of rewards that also moves the ideal (`Affine`) |
| `estimator` | `group_relative` `batch_scaled` `batch_centred` | rewards to advantages |
| | `leave_one_out` `leave_one_out_scaled` `Whitened` | the same; against the others; uncorrelated |
| `collapse` | `AtReward` `AtAdvantage` `AtGradient` | scalarize rewards; add advantages; leave channels to the update |
| | `SetHypervolume` | the group as a set |
| `rescaler` | `batch_standardize` `token_whiten` `to_std` | sets the size of a member's advantages |
| `shaping` | `clip_steps` `delta_steps` | what a step's reward is worth; read by `Steps` |
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
from moalign.credit._calibrated import Calibrated
from moalign.credit._gae import GAE
from moalign.credit._group_relative import batch_scaled, group_relative
from moalign.credit._leave_one_out import leave_one_out
from moalign.credit._leave_one_out_scaled import leave_one_out_scaled
from moalign.credit._mo_grpo import MOGRPO, MRN
from moalign.credit._ms_swift import GDPOMsSwift, GRPOMsSwift
from moalign.credit._nemo_rl import GDPONemoRL, GRPONemoRL
from moalign.credit._normalizers import batch, group, none
from moalign.credit._nvlabs import GDPONvlabs
from moalign.credit._pama import PAMA
from moalign.credit._pipeline import CreditPipeline
from moalign.credit._quantile import Quantile
from moalign.credit._rescalers import batch_standardize, to_std, token_whiten
from moalign.credit._routed import Routed
from moalign.credit._running import Running
from moalign.credit._set_hypervolume import SetHypervolume
from moalign.credit._set_value import SetValue, set_values
from moalign.credit._shaping import clip_steps, delta_steps
from moalign.credit._spread import spread
from moalign.credit._steps import Steps
from moalign.credit._trl import (
    GDPOTrl,
    GRPOTrl,
    GRPOTrlAsync,
    RLOOTrl,
    trl_normalize_then_sum,
    trl_sum_then_normalize,
)
from moalign.credit._verl import GDPOVerl, GRPOVerl
from moalign.credit._whitened import Whitened

__all__ = [
    "GAE",
    "MOGRPO",
    "MRN",
    "PAMA",
    "Affine",
    "AtAdvantage",
    "AtGradient",
    "AtReward",
    "Calibrated",
    "CreditPipeline",
    "GDPOMsSwift",
    "GDPONemoRL",
    "GDPONvlabs",
    "GDPOTrl",
    "GDPOVerl",
    "GRPOMsSwift",
    "GRPONemoRL",
    "GRPOTrl",
    "GRPOTrlAsync",
    "GRPOVerl",
    "Quantile",
    "RLOOTrl",
    "Routed",
    "Running",
    "SetHypervolume",
    "SetValue",
    "Steps",
    "Whitened",
    "batch",
    "batch_centred",
    "batch_scaled",
    "batch_standardize",
    "clip_steps",
    "delta_steps",
    "group",
    "group_relative",
    "leave_one_out",
    "leave_one_out_scaled",
    "none",
    "set_values",
    "spread",
    "to_std",
    "token_whiten",
    "trl_normalize_then_sum",
    "trl_sum_then_normalize",
]
