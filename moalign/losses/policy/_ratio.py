"""How far the policy has moved since the rows were collected, in logarithms."""

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.parts import register
from moalign.records import Outputs, Rows


def denominator(outputs: Outputs, rows: Rows) -> Float[Tensor, "row token"]:
    """Return the old log-probabilities: the recomputed ones, or with a single pass the present ones, detached."""
    return outputs.logprobs.detach() if rows.old_logprobs is None else rows.old_logprobs


@register("ratio", "token", paper="schulman2017ppo", test="tests/losses/test_policy.py::test_token_ratio_value")
def token_ratio(outputs: Outputs, rows: Rows) -> Float[Tensor, "row token"]:
    r"""Return each token's :math:`\log\pi_\theta-\log\pi_{old}`, 0 where not trained (PPO, arXiv:1707.06347)."""
    # masked positions may hold anything, and exp() of it could overflow: cut it out before, not after
    return torch.where(rows.train_mask, outputs.logprobs - denominator(outputs, rows), 0)


@register(
    "ratio", "sequence", paper="zheng2025gspo", test="tests/losses/test_policy.py::test_sequence_ratio_is_the_mean"
)
def sequence_ratio(outputs: Outputs, rows: Rows) -> Float[Tensor, "row token"]:
    r"""Return the sequence's mean log-ratio at its tokens, :math:`\frac{1}{|y|}\sum_t\log\pi_\theta-\log\pi_{old}`.

    All tokens of a completion are then clipped together. Zheng et al. 2025 (GSPO), arXiv:2507.18071, eq. 7.
    """
    log_ratio = token_ratio(outputs, rows)
    mean = log_ratio.sum(1, keepdim=True) / rows.train_mask.sum(1, keepdim=True).clamp(min=1)
    return torch.where(rows.train_mask, mean, 0)
