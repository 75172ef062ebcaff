"""The vector becomes a number in the reward: each completion is scalarized before advantages are estimated."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._normalizers import none
from moalign.credit._scalarized import Scalarized
from moalign.errors import ConfigError
from moalign.optimizers.scalarizers import Linear, among
from moalign.parts import bind, look_up_names, part, register

MISSING = ("renormalize", "zero")
NONE = bind(none)


@register("collapse", "at-reward", test="tests/credit/test_collapses.py::test_at_reward_matches_grpo")
@dataclass(frozen=True)
class AtReward(Scalarized):
    """Scalarize every completion's reward vector: what is maximised is E[u(r)], u the `scalarizer`.

    `missing` says what an objective that does not apply to a completion does: ``"renormalize"`` leaves it out and
    rescales the other weights to the same sum, ``"zero"`` counts it as a reward of 0. A completion without any
    valid reward (under ``"renormalize"``: any that has weight) is invalid and gets no advantage.
    """

    scalarizer: Any = part("scalarizer", Linear())
    missing: str = "renormalize"

    def __post_init__(self) -> None:
        look_up_names(self)
        if self.missing not in MISSING:
            raise ConfigError(f"`missing` must be one of {', '.join(MISSING)}, got {self.missing!r}.")

    def problems(self, recipe: Any) -> list[str]:
        """A scalarizer with numbers in the rewards' own units does not fit a normalizer, which changes the units."""
        normalize = getattr(recipe.credit, "normalize", NONE)
        if normalize == NONE or not getattr(self.scalarizer, "in_own_units", False):
            return []
        name = type(self.scalarizer).__name__
        return [f"`{name}` measures rewards in their own units, which `normalize` changes; use normalize='none'."]

    def before(
        self,
        values: Float[Tensor, "member prompt group objective"],
        valid: Bool[Tensor, "member prompt group objective"],
        weights: Float[Tensor, "member #prompt #group objective"],
        ideal: Float[Tensor, "member #prompt #group objective"],
    ) -> tuple[Float[Tensor, "member prompt group 1"], Bool[Tensor, "member prompt group 1"]]:
        """Return each completion's utility and whether it has one."""
        weights, ideal = weights.to(values).expand_as(values), ideal.to(values).expand_as(values)
        some = valid.any(-1, keepdim=True)
        if self.missing == "zero":
            utility = self.scalarizer(torch.where(valid, values, 0), weights, ideal)[..., None]
            return torch.where(some, utility, 0), some
        present = torch.where(valid, weights, 0).abs().sum(-1, keepdim=True)
        some = some & (present > 0)
        weights = weights * (weights.abs().sum(-1, keepdim=True) / torch.where(some, present, 1))
        if getattr(self.scalarizer, "skips_weightless", False):  # what has no weight is not there
            utility = self.scalarizer(torch.where(valid, values, 0), torch.where(valid, weights, 0), ideal)
            return torch.where(some, utility[..., None], 0), some
        return self._by_pattern(values, weights, ideal, valid & some)[..., None], some

    def _by_pattern(
        self,
        values: Float[Tensor, "member prompt group objective"],
        weights: Float[Tensor, "member prompt group objective"],
        ideal: Float[Tensor, "member prompt group objective"],
        valid: Bool[Tensor, "member prompt group objective"],
    ) -> Float[Tensor, "member prompt group"]:
        """Scalarize what is there, one call per pattern: an absent objective must not enter a maximum or a product."""
        utility = torch.zeros_like(values[..., 0])
        bits = 2 ** torch.arange(values.shape[-1], device=values.device)
        patterns = (valid * bits).sum(-1)
        for code in torch.unique(patterns).tolist():
            here = (bits & code) > 0
            if code:  # of all completions, so that members stay the first axis, which a number per member meets
                partial = among(self.scalarizer, here.tolist())
                found = partial(values[..., here], weights[..., here], ideal[..., here])
                utility = torch.where(patterns == code, found, utility)
        return utility
