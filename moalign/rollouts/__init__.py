"""Roll-outs: where prompts come from, how completions are sampled, filtered and scored."""

from moalign.rollouts.ar3po import AR3PO
from moalign.rollouts.collect import Pairs, Sample, Supervised
from moalign.rollouts.gfpo import GFPO
from moalign.rollouts.scored_pairs import ScoredPairs

__all__ = ["AR3PO", "GFPO", "Pairs", "Sample", "ScoredPairs", "Supervised"]
