"""What is descended: a function of the log-ratio whose gradient is the policy gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.parts import register

Bound = float | Float[Tensor, "row #token"]


@register("surrogate", "clipped", paper="schulman2017ppo", test="tests/losses/test_policy.py::test_clipping_by_hand")
def clipped_surrogate(
    log_ratio: Float[Tensor, "row token"], advantages: Float[Tensor, "row token channel"], low: Bound, high: Bound
) -> Float[Tensor, "row token channel"]:
    r"""Return :math:`-\min(rA,\ \mathrm{clip}(r, 1-l, 1+h)\,A)`: no reward for moving past the bounds.

    :math:`r=e^{\text{log\_ratio}}`, :math:`A` ``advantages``, :math:`l, h` ``low`` and ``high``.
    Schulman et al. 2017, arXiv:1707.06347, eq. 7.

    >>> clipped_surrogate(torch.tensor([[1.0, -1.0]]), torch.ones(1, 2, 1), 0.2, 0.2).flatten()
    tensor([-1.2000, -0.3679])
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(torch.as_tensor(1 - low).to(ratio), torch.as_tensor(1 + high).to(ratio))
    return -torch.minimum(ratio[..., None] * advantages, clipped[..., None] * advantages)


@register(
    "surrogate", "plain", paper="williams1992reinforce", test="tests/losses/test_policy.py::test_plain_is_reinforce"
)
def plain(
    log_ratio: Float[Tensor, "row token"], advantages: Float[Tensor, "row token channel"], low: Bound, high: Bound
) -> Float[Tensor, "row token channel"]:
    r"""Return :math:`-A\log\pi_\theta` up to a constant (REINFORCE): unclipped, so the bounds play no part.

    The constant is the old policy's term in ``log_ratio``; gradients do not see it. Williams 1992.
    """
    return -log_ratio[..., None] * advantages
