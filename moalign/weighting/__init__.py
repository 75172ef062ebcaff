"""Controllers: what moves the weights of the objectives while members train.

A controller is a frozen part; everything that changes is in a state whose tensors lead with ``member``, so one gather
clones, drops or reorders members together with their controller. It reads raw running means (larger is better) and
returns weights on the simplex, which give a direction, and a gain per member, which gives a magnitude.

| controller | weights | criterion |
| --- | --- | --- |
| `Constant` | the preference | linear |
| `RewardWeights` | numbers as given, not on the simplex: a trainer without preferences | linear |
| `Scheduled` | the preference, moving to another | linear |
| `HypervolumeGradient` | ∂ hypervolume / ∂ mean | hypervolume of E[r] |
| `FromScalarizer` | ∂u / ∂ mean | u(E[r]) |
| `GRPOLambda` | the preference in a member's best groups, its main objective in the others | linear, by group |
| `Lagrangian` | the preference plus multipliers of thresholds | max p·E[r] with E[r] ≥ threshold |
"""

from moalign.weighting.constant import Constant
from moalign.weighting.controller import Controller
from moalign.weighting.from_scalarizer import FromScalarizer
from moalign.weighting.grpo_lambda import GRPOLambda
from moalign.weighting.hypervolume_gradient import HypervolumeGradient
from moalign.weighting.lagrangian import Lagrangian
from moalign.weighting.reward_weights import RewardWeights
from moalign.weighting.schedule import Scheduled

__all__ = [
    "Constant",
    "Controller",
    "FromScalarizer",
    "GRPOLambda",
    "HypervolumeGradient",
    "Lagrangian",
    "RewardWeights",
    "Scheduled",
]
