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

A reward that is a model loads it, and transformers, when it is first used.
"""

from moalign.rewards.cache import Cached
from moalign.rewards.calling import TrainerState
from moalign.rewards.captured import Captured
from moalign.rewards.classifier import Classifier
from moalign.rewards.combined import Given, Logged, Multiplied, Picked, Scaled
from moalign.rewards.endpoint import Endpoint
from moalign.rewards.ensemble import Ensemble
from moalign.rewards.evolving import EvolvingJudge
from moalign.rewards.flipped import Flipped
from moalign.rewards.format import matches
from moalign.rewards.hindsight import Hindsight
from moalign.rewards.json_schema import JsonSchema
from moalign.rewards.judge import Judge
from moalign.rewards.key_phrases import KeyPhrases
from moalign.rewards.length import brevity, token_count
from moalign.rewards.length_shapes import CosineLength, GroupLength, SoftOverlong
from moalign.rewards.local_model import LocalModel
from moalign.rewards.math_answer import MathAnswer
from moalign.rewards.ngrams import DistinctFromOthers, Repetition
from moalign.rewards.rubric import ProblemRubric, Rubric
from moalign.rewards.scorer import DEFAULT_TIMEOUT, Scorer, ScoreResult
from moalign.rewards.steps import Steps
from moalign.rewards.text_overlap import BLEU, ChrF, RougeL
from moalign.rewards.tool_calls import ToolCalls, ToolFormat
from moalign.rewards.tool_thrift import ToolThrift
from moalign.rewards.trainer import train_reward_model
from moalign.rewards.verifier import exact_number
from moalign.rewards.win_rate import WinRate

__all__ = [
    "BLEU",
    "DEFAULT_TIMEOUT",
    "Cached",
    "Captured",
    "ChrF",
    "Classifier",
    "CosineLength",
    "DistinctFromOthers",
    "Endpoint",
    "Ensemble",
    "EvolvingJudge",
    "Flipped",
    "Given",
    "GroupLength",
    "Hindsight",
    "JsonSchema",
    "Judge",
    "KeyPhrases",
    "LocalModel",
    "Logged",
    "MathAnswer",
    "Multiplied",
    "Picked",
    "ProblemRubric",
    "Repetition",
    "RougeL",
    "Rubric",
    "Scaled",
    "ScoreResult",
    "Scorer",
    "SoftOverlong",
    "Steps",
    "ToolCalls",
    "ToolFormat",
    "ToolThrift",
    "TrainerState",
    "WinRate",
    "brevity",
    "exact_number",
    "matches",
    "token_count",
    "train_reward_model",
]
