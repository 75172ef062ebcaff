"""What members are worth on held-out prompts, with standard errors over prompts."""

from moalign.evaluation._evaluate import evaluate
from moalign.evaluation._evaluation import Evaluation, Sample

__all__ = ["Evaluation", "Sample", "evaluate"]
