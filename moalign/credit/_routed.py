"""Placement by objective: an advantage goes to the segments of a completion that its objective is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.credit._at_gradient import AtGradient
from moalign.errors import ConfigError, nearest
from moalign.parts import register, walk
from moalign.records import Rows


@register("placement", "routed", paper="surana2026fgrpo", test="tests/credit/test_routed.py::test_by_hand")
@dataclass(frozen=True)
class Routed:
    r"""Give a token the weighted advantages of the objectives that are about its segment (F-GRPO).

    .. math:: A_{it}=\sum_{k:\,s_{it}\in S_k}w_k A_{ik}

    :math:`A_{ik}` the row's advantage in objective :math:`k`, :math:`w` the controller's weights, :math:`s_{it}`
    ``rows.segments``, :math:`S_k` what ``route`` says: the name of a segment, or several. An objective that it does not
    name goes to all tokens. The sum is one channel: one backward pass, with credit on different tokens. A completion
    without an objective's segment learns nothing from it. Surana et al. 2026, arXiv:2605.12995.
    """

    route: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)

    @property
    def objectives(self) -> tuple[str, ...]:
        return tuple(self.route)  # a study checks these names before it trains

    def problems(self, recipe: Any) -> list[str]:
        found = [] if self.route else ["`route` is empty; say what an objective is about: {'accuracy': 'after'}."]
        if not isinstance(getattr(recipe.credit, "collapse", None), AtGradient):
            found.append("`place='routed'` adds the objectives up itself; with it, bind collapse='at-gradient'.")
        cut = (getattr(part, "segment_names", ()) for part in (recipe.collect, *dict(walk(recipe.collect)).values()))
        return found + self._unknown(next(filter(None, cut), ()))

    def __call__(
        self, rows: Rows, advantages: Float[Tensor, "row channel"], weights: Float[Tensor, "row objective"]
    ) -> Float[Tensor, "row token 1"]:
        names = () if rows.rewards is None else rows.rewards.names
        cut = () if rows.segments is None else rows.segment_names
        if advantages.shape[1] != len(names) or not self.route.keys() <= set(names) or self._unknown(cut):
            raise ConfigError(f"`route` {self.route} does not fit objectives {names}, kept apart, and segments {cut}.")
        about = rows.tokens.new_tensor([n not in self.route for n in names]).bool().repeat(*rows.tokens.shape, 1)
        for name, segment in self._pairs():
            about[..., names.index(name)] |= rows.segments == rows.segment_names.index(segment)
        return torch.where(about, (weights.to(advantages) * advantages)[:, None], 0).sum(2, keepdim=True)

    def _pairs(self) -> list[tuple[str, str]]:
        each = {name: (to,) if isinstance(to, str) else to or ("",) for name, to in self.route.items()}
        return [(name, segment) for name, segments in each.items() for segment in segments]

    def _unknown(self, cut: tuple[str, ...]) -> list[str]:
        said = "`route` sends `{}` to the segment `{}`, which `collect` does not cut as Segmented would{}"
        return [said.format(name, to, nearest(to, cut)) for name, to in self._pairs() if to not in cut]
