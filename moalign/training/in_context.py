"""An offer of one trained member as many behaviours: each preference asks for its own rewards."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import Same, bind, look_up_names, part, register
from moalign.policies import Conditioned
from moalign.records import Policy, State
from moalign.rollouts.reward_targets import l2_target
from moalign.rollouts.reward_text import wanted
from moalign.training.offers import Offer


@register(
    "offer",
    "in-context",
    paper="yang2024ric",
    test="tests/training/test_in_context.py::test_each_preference_becomes_a_prefix",
)
@dataclass(frozen=True)
class InContext:
    """Offer one behaviour per preference: the one member behind the rewards that `target` makes of the preference.

    A share :math:`t` asks for :math:`l + (f + (1 - f) t)(h - l)`: :math:`l, h` are the lowest and highest reward that
    the collector saw, :math:`f` is `floor`. The model gives what it is asked for: with `floor` 0, as in the paper, a
    small preference for being right asks for wrong answers, though right ones would cost nothing; 0.5 asks for no less
    than the middle. The paper's code takes :math:`l, h` of 50,000 normal draws, about ±4.2 standard deviations, which
    rewards with bounds do not reach. `text` is how rewards were told in training. Yang et al. 2024, arXiv:2402.10207.
    """

    target: Any = part("target", bind(l2_target))
    floor: float = 0.0
    text: Any = Same("collect.text")
    shared: ClassVar[bool] = True  # one member is trained, whatever the number of preferences

    def __post_init__(self) -> None:
        look_up_names(self)
        if not 0 <= self.floor < 1:
            raise ConfigError(f"`floor` is {self.floor}; it is the share that a preference of 0 asks for, below 1.")

    def problems(self, recipe: Any) -> list[str]:
        if hasattr(recipe.collect, "text"):
            return []
        return ["`recipe.offer` 'in-context' needs a collector that tells rewards: 'rewards-in-context'."]

    def __call__(self, policy: Policy, preferences: Float[Tensor, "point objective"], state: State) -> Offer:
        seen = state["collect"]
        member = torch.zeros(len(preferences), dtype=torch.long)
        asked = self.floor + (1 - self.floor) * self.target(preferences.double())
        told = self.text(wanted(asked, seen), member, seen)
        prefixes = {f"c{i:02d}": prefix for i, prefix in enumerate(told)}
        return Conditioned(policy, prefixes), preferences, ("conditioned",) * len(preferences)
