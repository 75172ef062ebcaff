"""Noise on purpose: a reward that is wrong with a known probability, to see what a method makes of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.rewards.calling import TrainerState
from moalign.rewards.groups import check_group, groups_of
from moalign.rewards.wrapping import Wrapping, values_of


@register(
    "reward",
    "flipped",
    paper="lv2025climb",
    test="tests/rewards/test_flipped.py::test_flips_the_stated_share_of_prompts_whole",
)
@dataclass(frozen=True)
class Flipped(Wrapping):
    """A `reward` that is turned over, to `low` + `high` - reward, with `probability`.

    All completions of a prompt are turned together, as in the paper's code, or with `per` "completion" each by itself.
    What is turned is a pure function of `seed`, the step and the text, so a resumed run turns the same. The noise also
    meets evaluation: keep the clean reward beside it as an objective with ``optimize=False``. `num_generations` is
    needed only where a step has one prompt and several members. Lv et al. 2025, arXiv:2505.22653.

    >>> from moalign.rewards import exact_number
    >>> Flipped(exact_number(), 1.0)(prompts=["2+2="], completions=["4"], answer=["4"])
    [0.0]
    >>> from moalign.objectives import Objective
    >>> clean = exact_number()
    >>> objectives = [Objective("noisy", Flipped(clean, 0.4)), Objective("correct", clean, optimize=False)]
    """

    reward: Any
    probability: float
    seed: int = 0
    low: float = 0.0
    high: float = 1.0
    per: str = "prompt"
    num_generations: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_group(self.num_generations)
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"`probability` must be from 0 to 1, got {self.probability}.")
        if self.per not in ("prompt", "completion"):
            raise ConfigError(f"`per` must be 'prompt' or 'completion', got {self.per!r}.")

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        known = values_of(self.reward, {"prompts": prompts, "completions": completions, **columns})
        step = columns.get("trainer_state", TrainerState()).global_step
        out: list[float | None] = []
        for group in groups_of(prompts, self.num_generations):
            for place, i in enumerate(group):
                which = "" if self.per == "prompt" else f"{place}/{completions[i]!r}"
                turned = _uniform(f"{self.seed}/{step}/{prompts[i]!r}/{which}") < self.probability
                value = known[i]
                out.append(self.low + self.high - value if turned and value is not None else value)
        return out


def _uniform(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
