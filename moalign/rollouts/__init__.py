"""Roll-outs: where prompts come from, how completions are sampled, filtered and scored."""

from moalign.rollouts.collect import Pairs, Sample, Supervised
from moalign.rollouts.gfpo import GFPO

__all__ = ["GFPO", "Pairs", "Sample", "Supervised"]
