"""Controllers: what moves the weights of the objectives while members train.

A controller is a frozen part; everything that changes is in a state whose tensors lead with ``member``, so one gather
clones, drops or reorders members together with their controller. It reads raw running means (larger is better) and
returns weights on the simplex, which give a direction, and a gain per member, which gives a magnitude.

| controller | weights | criterion |
| --- | --- | --- |
| `Constant` | the preference | linear |
| `RewardWeights` | numbers as given, not on the simplex: a trainer without preferences | linear |
| `Scheduled` | the preference, moving to another | linear |
| `SampledPreferences` | drawn anew at every step, for a member or for each of its prompts | linear in each draw |
| `HypervolumeGradient` | ∂ hypervolume / ∂ mean | hypervolume of E[r] |
| `FromScalarizer` | ∂u / ∂ mean | u(E[r]) |
| `GRPOLambda` | the preference in a member's best groups, its main objective in the others | linear, by group |
| `Gated` | the main objective, and the preference as far as a group has it in hand | linear, by group |
| `ByColumn` | those of the controller that a column of the data names | by group |
| `StageAware` | the preference, more of it where the batch's rewards still vary | linear, by batch |
| `Lagrangian` | the preference plus multipliers of thresholds | max p·E[r] with E[r] ≥ threshold |
| `ThresholdSearch` | the same, with thresholds that move to where another objective is highest | goal of E[r] |
| `HypervolumeGain` | the preference, and a gain by the hypervolume a mean adds to the best before it | linear |
| `GradientInfluence` | more for an objective whose gradient helps all | linear |
| `CovarianceTargets` | more for an objective that advantages push too little | linear |
| `GradNorm` | what makes weighted gradients as long as they should be | linear |
"""

from moalign.weighting.by_column import ByColumn
from moalign.weighting.constant import Constant
from moalign.weighting.controller import Controller
from moalign.weighting.covariance_targets import CovarianceTargets
from moalign.weighting.from_scalarizer import FromScalarizer
from moalign.weighting.gated import Gated
from moalign.weighting.gradient_influence import GradientInfluence
from moalign.weighting.gradnorm import GradNorm
from moalign.weighting.grpo_lambda import GRPOLambda
from moalign.weighting.hypervolume_gain import HypervolumeGain
from moalign.weighting.hypervolume_gradient import HypervolumeGradient
from moalign.weighting.lagrangian import Lagrangian
from moalign.weighting.reward_weights import RewardWeights
from moalign.weighting.sampled_preferences import SampledPreferences
from moalign.weighting.schedule import Scheduled
from moalign.weighting.stage_aware import StageAware
from moalign.weighting.threshold_search import ThresholdSearch

__all__ = [
    "ByColumn",
    "Constant",
    "Controller",
    "CovarianceTargets",
    "FromScalarizer",
    "GRPOLambda",
    "Gated",
    "GradNorm",
    "GradientInfluence",
    "HypervolumeGain",
    "HypervolumeGradient",
    "Lagrangian",
    "RewardWeights",
    "SampledPreferences",
    "Scheduled",
    "StageAware",
    "ThresholdSearch",
]
