"""The same cosine to every gradient (ConFIG)."""

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.gradients._angles import angles, inverse_times, times, weights_of
from moalign.parts import register


@register(
    "mixer", "config", test="tests/optimizers/test_config.py::test_cosines_are_the_preferences", paper="liu2024config"
)
def config(
    gram: Float[Tensor, "*batch channel channel"], preferences: Float[Tensor, "*batch channel"]
) -> Float[Tensor, "*batch channel"]:
    r"""Return weights of the step whose cosine to each gradient is proportional to its preference (ConFIG).

    .. math:: d = \Big(\sum_k g_k \cdot u\Big) u, \qquad u = \frac{U^+ p}{\|U^+ p\|}

    The rows of :math:`U` are the gradients scaled to length 1, :math:`p` is ``preferences`` (their size does not
    matter). No channel loses, unless the gradients are linearly dependent. The pseudo-inverse needs the inner products
    alone, :math:`U^+ = U^\top (U U^\top)^+`. A channel whose gradient is zero is left out; gradients that cancel out
    give zeros. Liu, Chu and Thuerey 2024, arXiv:2408.11104, without the variant with momentum.

    >>> import torch
    >>> g = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    >>> config(g @ g.mT, torch.tensor([0.5, 0.5])) @ g  # (1, 1) / sqrt 2 times (1 + 3) / sqrt 2
    tensor([2., 2.])
    """
    at = angles(gram, preferences)
    amounts = inverse_times(at, at.wish)
    cosines = times(at.cosine, amounts)
    square = (amounts * cosines).sum(dim=-1, keepdim=True)
    some = square > at.noise * at.wish.square().sum(dim=-1, keepdim=True)
    scale = (at.length * cosines).sum(dim=-1, keepdim=True) / torch.where(some, square, 1.0)
    return weights_of(torch.where(some, scale * amounts, 0.0), at, preferences)
