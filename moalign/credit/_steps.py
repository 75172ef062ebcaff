"""Credit by segment: what a step, a turn or a phase earned goes to its tokens and to those that led to it."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.credit._group_relative import group_relative
from moalign.credit._pipeline import divides
from moalign.errors import ConfigError, nearest
from moalign.parts import bind, look_up_names, part, register, walk
from moalign.records import Credit, Metrics, Rows, State


@register("credit", "step-rewards", paper="shao2024deepseekmath", test="tests/credit/test_steps.py::test_by_hand")
@dataclass(frozen=True)
class Steps:
    r"""Give a token the advantages of its own segment and of the later ones.

    .. math:: A_{it}=\sum_k w_k\sum_{s\ge s_{it}}A_{isk}

    :math:`A_{isk}` is what `estimate` makes of the segments' rewards in objective :math:`k`, all segments of a prompt's
    completions compared with each other, after `shape`; :math:`s_{it}` is the token's segment, :math:`w` the
    controller's weights. Without `to_go` a segment's advantage is for its own tokens alone. `by_step` names the
    objectives that segments are scored in, none meaning all; the others are compared by whole completions, and go to
    every token. A segment without a reward adds nothing and has no part in a mean. GRPO with process supervision: Shao
    et al. 2024, arXiv:2402.03300, section 4.1.3.
    """

    estimate: Any = part("estimator", bind(group_relative))
    shape: Any = part("shaping", None)
    by_step: tuple[str, ...] = ()
    to_go: bool = True

    def __post_init__(self) -> None:
        look_up_names(self)

    @property
    def objectives(self) -> tuple[str, ...]:
        return self.by_step  # a study checks these names before it trains

    @property
    def scales_objectives(self) -> bool:
        """Whether each objective is divided by its own spread before the objectives are added up."""
        return divides(self.estimate)

    def problems(self, recipe: Any) -> list[str]:
        return needs_scored_segments(recipe, "steps")

    def init(self, members: int, objectives: int) -> State:
        return {}

    def __call__(
        self, rows: Rows, weights: Float[Tensor, "member #p #g objective"], gain: Float[Tensor, "member"], state: State
    ) -> tuple[Credit, State]:
        if rows.rewards is None or rows.segment_rewards is None or rows.segments is None:
            raise ConfigError("`steps` needs rewards of segments; collect with ScoredSegments.")
        names = rows.rewards.names
        for name in self.by_step:
            if name not in names:
                raise ConfigError(f"`by_step` names `{name}`, which is not an objective{nearest(name, names)}")
        stepped = torch.tensor([not self.by_step or name in self.by_step for name in names], device=rows.tokens.device)
        known = ~rows.segment_rewards.isnan() & rows.keep[:, None, None] & stepped
        steps = torch.where(known, rows.segment_rewards, 0)
        shaped = steps if self.shape is None else self.shape(steps, known)
        each = self._compared(rows, shaped, known)
        if self.to_go:
            each = each.flip(1).cumsum(1).flip(1)
        whole = rows.rewards.valid & rows.keep[:, None] & ~stepped
        outcome = self._compared(rows, rows.rewards.values[:, None], whole[:, None])
        size = gain.to(each)[rows.member, None, None]
        shares = rows.flat(weights.expand(rows.members, *rows.slots()[1:], -1))
        by_segment = ((each + outcome) * shares.to(each)[:, None]).sum(2, keepdim=True) * size
        where = rows.segments.clamp(max=by_segment.shape[1] - 1)[..., None]
        targets = rows.rewards.values[:, None].expand(-1, rows.tokens.shape[1], -1)
        return Credit(by_segment.gather(1, where), targets, shares, _sizes(each, known, rows)), state

    def _compared(
        self, rows: Rows, x: Float[Tensor, "row segment objective"], known: Tensor
    ) -> Float[Tensor, "row segment objective"]:
        """Estimate with a prompt's completions and all their segments as one group."""
        grid, mask = rows.grid(x)[0], rows.grid(known.to(x))[0] > 0
        flat = self.estimate(grid.flatten(2, 3), mask.flatten(2, 3))
        return rows.flat(flat.view(grid.shape))


def needs_scored_segments(recipe: Any, name: str) -> list[str]:
    """Return a problem unless the recipe's collector, or one inside it, scores segments."""
    if any(getattr(one, "scores_segments", False) for one in (recipe.collect, *dict(walk(recipe.collect)).values())):
        return []
    return [f"`credit='{name}'` reads rewards of segments, which `collect` does not give; see ScoredSegments."]


def _sizes(advantages: Float[Tensor, "row segment objective"], known: Tensor, rows: Rows) -> Metrics:
    """Return by objective the root mean square of what segments are credited with."""
    grid, mask = rows.grid(advantages)[0], rows.grid(known.to(advantages))[0]
    squares = (grid.square() * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp(min=1)
    assert rows.rewards is not None
    return {f"advantages/{name}/rms": x for name, x in zip(rows.rewards.names, squares.sqrt().unbind(1))}
