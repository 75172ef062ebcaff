"""Weights as a trainer's configuration gives them: any positive or negative numbers, the same for every member."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError, nearest
from moalign.parts import register
from moalign.records import Rows, Setting, State
from moalign.weighting.controller import Controller, Weights, per_member


@register("controller", "reward_weights", test="tests/weighting/test_reward_weights.py::test_taken_as_given")
@dataclass(frozen=True)
class RewardWeights(Controller):
    """Weigh objectives by `weights`, unchanged and not normalised (TRL's ``reward_weights``); 1 where none is given.

    Preferences are not read: this reproduces a trainer that has none.
    """

    weights: Mapping[str, float] = field(default_factory=dict)

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        for name in self.weights:
            if name not in setting.names:
                raise ConfigError(
                    f"`weights` names `{name}`, which is not a trained objective{nearest(name, setting.names)}"
                )
        given = torch.tensor([float(self.weights.get(name, 1.0)) for name in setting.names])
        return {"weights": given.expand(preferences.shape[0], -1).clone()}

    def weigh(self, state: State, rows: Rows) -> Weights:
        return per_member(state["weights"])
