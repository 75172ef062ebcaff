"""What members are worth on held-out prompts, with standard errors over prompts."""

from ._evaluate import evaluate
from ._evaluation import Evaluation, Sample

__all__ = ["Evaluation", "Sample", "evaluate"]
