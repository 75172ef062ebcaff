"""Does the completion reason? It is not asked whether it is right."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.rewards.ngrams import runs
from moalign.rewards.texts import text_of


@register(
    "reward",
    "key-phrases",
    paper="lv2025climb",
    test="tests/rewards/test_key_phrases.py::test_counts_phrases_and_takes_off_for_repeats",
)
@dataclass(frozen=True)
class KeyPhrases:
    """The share of `enough` that the number of different `phrases` in a completion is, at most 1, less repetition.

    Small and capital letters are alike. Taken off is the share of n-grams of `repeat` words that are there more than
    once; the result is at least 0. The paper lists 40 phrases (20 of them are `enough`) and adds this reward where a
    noisy reward model is low. Lv et al. 2025, arXiv:2505.22653.

    >>> reward = KeyPhrases(("first, i need to", "let me check", "therefore"), enough=2)
    >>> reward(completions=["First, I need to add. Therefore 4.", "Therefore 4", "4"])
    [1.0, 0.5, 0.0]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("reasons", reward, bounds=(0, 1))
    """

    phrases: Sequence[str]
    enough: int = 20
    repeat: int = 20

    def __post_init__(self) -> None:
        if isinstance(self.phrases, str) or not self.phrases or not all(self.phrases):
            raise ConfigError(f"`phrases` must be several texts, none of them empty, got {self.phrases!r}.")
        object.__setattr__(self, "phrases", tuple(dict.fromkeys(phrase.lower() for phrase in self.phrases)))
        if self.enough < 1 or self.repeat < 1:
            raise ConfigError(f"`enough` and `repeat` must be at least 1, got {self.enough} and {self.repeat}.")

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float]:
        return [self._score(text_of(completion).lower()) for completion in completions]

    def _score(self, text: str) -> float:
        found = min(1.0, sum(phrase in text for phrase in self.phrases) / self.enough)
        grams = Counter(runs(text.split(), self.repeat))
        again = sum(count > 1 for count in grams.values()) / grams.total() if grams else 0.0
        return max(0.0, found - again)
