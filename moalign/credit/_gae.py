"""Credit from value heads: one λ for the policy's advantages, another for what the heads should predict."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.credit._generalized import explained, generalized_advantages
from moalign.errors import ConfigError
from moalign.parts import needs_of, register
from moalign.records import Credit, Need, Rows, State


@register("credit", "gae", paper="yue2025vapo", test="tests/credit/test_gae.py::test_by_hand", needs=[Need.OLD_VALUES])
@dataclass(frozen=True)
class GAE:
    r"""Decoupled, length-adaptive GAE: each objective's advantages from its own value head, then their weighted sum.

    The policy's advantages use :math:`\lambda=\max(0,\,1-\frac{1}{\alpha l})`, the heads' targets :math:`V+A` use
    ``lambda_critic``: with 1 every token's target is the (discounted) reward. :math:`\alpha` ``alpha``, :math:`l` the
    completion's number of tokens, :math:`V` ``rows.old_values``; ``gamma`` discounts per token. Nothing is normalized:
    rewards keep their units. An objective without a reward adds nothing to its row. The metric ``values/*/explained``
    says how good the heads are. Length-adaptive λ: Yue et al. 2025 (VAPO), arXiv:2504.05118; two λ: Yuan et al. 2025
    (VC-PPO), arXiv:2503.01491. The papers do not say what holds below :math:`l=1/\alpha`: there λ is 0.
    """

    alpha: float = 0.05
    gamma: float = 1.0
    lambda_critic: float = 1.0
    scales_objectives: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (self.alpha > 0 and 0 < self.gamma <= 1 and 0 <= self.lambda_critic <= 1):
            raise ConfigError(
                f"{self}: `alpha` must be positive, `gamma` and `lambda_critic` lie in (0, 1] and [0, 1]."
            )

    def problems(self, recipe: Any) -> list[str]:
        learned = any(Need.VALUES in needs_of(term) for term in recipe.losses.values())
        return [] if learned else ["`gae` reads value heads, and no loss trains them; add `value_mse` to `losses`."]

    def init(self, members: int, objectives: int) -> State:
        return {}

    def __call__(
        self, rows: Rows, weights: Float[Tensor, "member #p #g objective"], gain: Float[Tensor, "member"], state: State
    ) -> tuple[Credit, State]:
        if rows.rewards is None or rows.old_values is None:
            raise ConfigError("`gae` needs rewards and a policy with value heads; use another credit.")
        rewards, values, mask = rows.rewards.values, rows.old_values, rows.completion_mask
        both = (1 - 1 / (self.alpha * mask.sum(1).clamp(min=1))).clamp(min=0), self.lambda_critic
        actor, critic = (generalized_advantages(rewards, values, mask, x, gamma=self.gamma) for x in both)
        known = rows.rewards.valid & rows.keep[:, None]
        each = rows.flat(weights.expand(rows.members, *rows.slots()[1:], -1))
        total = torch.where(known[:, None], actor * each[:, None], 0).sum(-1, keepdim=True)
        quality = explained(rows, values, values + critic, known).unbind(1)
        metrics = {f"values/{name}/explained": x for name, x in zip(rows.rewards.names, quality)}
        return Credit(total * gain[rows.member][:, None, None], values + critic, each, metrics), state
