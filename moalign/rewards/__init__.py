"""Rewards: what scores a completion. Functions are TRL's, unchanged.

>>> from moalign import rewards
>>> from moalign.objectives import Objective
>>> objectives = [
...     Objective("correct", rewards.exact_number("answer")),
...     Objective("tokens", rewards.token_count, maximize=False, bounds=(0, 512)),
... ]
>>> with rewards.Scorer(objectives) as scorer:
...     scorer.score(["2+2="], ["it is 4"], [[7, 8, 1]], {"answer": ["4"]}).values
tensor([[1., 3.]])

Classifiers are in `moalign.rewards.classifier`, which needs transformers.
"""

from moalign.rewards.calling import TrainerState
from moalign.rewards.format import matches
from moalign.rewards.length import brevity, token_count
from moalign.rewards.scorer import DEFAULT_TIMEOUT, Scorer, ScoreResult
from moalign.rewards.verifier import exact_number

__all__ = [
    "DEFAULT_TIMEOUT",
    "ScoreResult",
    "Scorer",
    "TrainerState",
    "brevity",
    "exact_number",
    "matches",
    "token_count",
]
