"""What all controllers share: the three calls of a step, and the shape of what they return."""

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.records import Metrics, Rows, Setting, Signals, State

Weights = tuple[Float[Tensor, "member #prompt #group objective"], Float[Tensor, "member"]]


class Controller:
    """Base of the controllers: subclasses define `init` and `weigh`, and `observe` if they learn from a step."""

    holds_thresholds: ClassVar[bool] = False  # True: an objective with a threshold is a floor, and needs no preference
    moves_gain: ClassVar[bool] = False  # True: the gain is not always 1

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        """Return the state before the first step."""
        raise TypeError(f"{type(self).__name__} must define `init(preferences, setting)`.")

    def weigh(self, state: State, rows: Rows) -> Weights:
        """Return the weights of this step's rows, and each member's gain."""
        raise TypeError(f"{type(self).__name__} must define `weigh(state, rows)`.")

    def observe(self, state: State, signals: Signals) -> State:
        """Return the state after what a step showed; unchanged here."""
        return state

    def problems(self, recipe: Any) -> list[str]:
        """Return why this controller does not fit a recipe; nothing here."""
        return []

    def metrics(self, state: State, names: tuple[str, ...]) -> Metrics:
        """Return what is worth logging beside the weights themselves; nothing here."""
        return {}


def per_member(weights: Float[Tensor, "member objective"]) -> Weights:
    """Return one weighting per member in the shape of `Controller.weigh`, with gain 1."""
    return weights[:, None, None, :], torch.ones(len(weights), device=weights.device)


def on_simplex(preferences: Float[Tensor, "member objective"], setting: Setting) -> Float[Tensor, "member objective"]:
    """Return preferences divided by their sums, after checking them.

    >>> nothing = torch.tensor([float("nan")] * 2)
    >>> on_simplex(torch.tensor([[3.0, 1.0]]), Setting(("a", "b"), nothing, nothing, nothing, nothing))
    tensor([[0.7500, 0.2500]])
    """
    if preferences.shape[1] != len(setting.names):
        raise ConfigError(
            f"`preferences` has {preferences.shape[1]} columns for {len(setting.names)} objectives "
            f"({', '.join(setting.names)}); pass one per objective."
        )
    sums = preferences.sum(dim=1, keepdim=True)
    if not bool(((preferences >= 0).all(dim=1, keepdim=True) & (sums > 0) & sums.isfinite()).all()):
        raise ConfigError(f"`preferences` must be non-negative with a positive sum, got {preferences.tolist()}.")
    return preferences / sums


def needs_raw_rewards(recipe: Any, name: str) -> list[str]:
    """Return a problem if a recipe divides each objective by its spread; these weights are slopes in raw units."""
    if not recipe.credit.scales_objectives:
        return []
    return [
        f"`weighting='{name}'` weighs rewards in their own units, and `credit` divides each objective by its spread, "
        "which undoes that; use recipes.hypervolume(), or credit.estimate.scale=false without a normalizer."
    ]
