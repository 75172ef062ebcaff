"""The vector becomes a number in the reward: what a completion adds to the hypervolume of its group."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._scalarized import Scalarized
from moalign.errors import ConfigError
from moalign.optimizers.hypervolume import contributions
from moalign.parts import register


@register("collapse", "set-hypervolume", test="tests/credit/test_set_hypervolume.py::test_by_hand")
@dataclass(frozen=True)
class SetHypervolume(Scalarized):
    r"""Value a completion by :math:`HV(G)-HV(G\setminus\{r_i\})`, its exact contribution to the group's hypervolume.

    :math:`G` the reward vectors of its prompt's group, above `reference` in every objective, in the unit that the
    normalizer leaves them. A dominated completion is worth 0, and so are two equal ones: the group is rewarded for
    covering trade-offs, not for one good answer. Objectives without weight are left out; the weights of the others do
    not matter, because a scaled axis scales every contribution alike. A completion that lacks a reward with weight is
    no point: it is invalid. Computed on the CPU by moocore, group by group.
    """

    reference: float = 0.0

    def __post_init__(self) -> None:
        if not -torch.inf < self.reference < torch.inf:
            raise ConfigError(f"`reference` must be a finite number, got {self.reference}.")

    def problems(self, recipe: Any) -> list[str]:
        if recipe.num_generations >= 2:
            return []
        return ["`set-hypervolume` values a completion beside others; `num_generations` must be at least 2."]

    def before(
        self,
        values: Float[Tensor, "member prompt group objective"],
        valid: Bool[Tensor, "member prompt group objective"],
        weights: Float[Tensor, "member #prompt #group objective"],
        ideal: Float[Tensor, "member #prompt #group objective"],
    ) -> tuple[Float[Tensor, "member prompt group 1"], Bool[Tensor, "member prompt group 1"]]:
        """Return each completion's contribution and whether it has one."""
        counts = (weights != 0).expand_as(values).any(2)  # of a group: member prompt objective
        some = (valid | ~counts[:, :, None]).all(3) & counts.any(2)[:, :, None]
        worth = torch.zeros_like(values[..., 0])
        for member, prompt in some.any(2).nonzero().tolist():
            here, rows = counts[member, prompt], some[member, prompt]
            points = values[member, prompt][rows][:, here]
            worth[member, prompt, rows] = contributions(points, points.new_full((points.shape[1],), self.reference))
        return worth[..., None], some[..., None]
