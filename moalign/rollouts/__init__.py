"""Roll-outs: where prompts come from, how completions are sampled, filtered and scored."""

from moalign.rollouts.ar3po import AR3PO
from moalign.rollouts.best_worst import BestWorst
from moalign.rollouts.collect import Pairs, Sample, Supervised
from moalign.rollouts.dynamic_sampling import DynamicSampling
from moalign.rollouts.gfpo import GFPO
from moalign.rollouts.hapo import HAPO
from moalign.rollouts.judged_pairs import JudgedPairs
from moalign.rollouts.knapsack import Knapsack
from moalign.rollouts.previous_iterate import PreviousIterate
from moalign.rollouts.prof import PROF
from moalign.rollouts.reward_targets import l2_target, linear_target, linf_target
from moalign.rollouts.reward_text import RewardText
from moalign.rollouts.rewards_in_context import RewardsInContext
from moalign.rollouts.scored_pairs import ScoredPairs
from moalign.rollouts.scored_segments import ScoredSegments
from moalign.rollouts.segmented import Segmented
from moalign.rollouts.varying import VaryingGroups

__all__ = [
    "AR3PO",
    "GFPO",
    "HAPO",
    "PROF",
    "BestWorst",
    "DynamicSampling",
    "JudgedPairs",
    "Knapsack",
    "Pairs",
    "PreviousIterate",
    "RewardText",
    "RewardsInContext",
    "Sample",
    "ScoredPairs",
    "ScoredSegments",
    "Segmented",
    "Supervised",
    "VaryingGroups",
    "l2_target",
    "linear_target",
    "linf_target",
]
