"""Every gradient bent until it harms no channel, then added up (UPGrad)."""

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.gradients._angles import angles, at_most, inverses, times, weights_of
from moalign.parts import register


@register(
    "mixer", "upgrad", test="tests/optimizers/test_upgrad.py::test_of_two_worked_values", paper="quinton2024upgrad"
)
def upgrad(
    gram: Float[Tensor, "*batch channel channel"], preferences: Float[Tensor, "*batch channel"]
) -> Float[Tensor, "*batch channel"]:
    r"""Return weights of :math:`\sum_k p_k \pi(g_k)`: each gradient's nearest step that no channel loses by, weighted.

    :math:`\pi(g) = \arg\min_d \|d - g\|` over all :math:`d` with :math:`g_j \cdot d \ge 0` for every channel,
    :math:`p` ``preferences``. No channel loses by the sum either, and a longer gradient gets proportionally more say.
    Quinton and Rey 2024, arXiv:2406.16232.

    :math:`\pi(g_k) = \sum_j v_j g_j` with the least :math:`v^\top G v` such that :math:`v \ge e_k`. The channels that
    would lose by :math:`g_k` and are helped form a set; all sets are solved in one batch, on the device, and the least
    is the answer. A channel whose gradient is zero is left out; more than 12 channels raise `ConfigError`.

    >>> import torch
    >>> g = torch.tensor([[1.0, 1.0], [-3.0, 0.0]])
    >>> weights = upgrad(g @ g.mT, torch.tensor([0.5, 0.5]))
    >>> weights @ g  # half of (0, 1) and half of (-1.5, 1.5): each without its part against the other
    tensor([-0.7500,  1.2500])
    """
    at_most(gram.shape[-1], 12, "upgrad")
    at = angles(gram, preferences)
    cosine = at.cosine.unsqueeze(-3)
    eye = torch.eye(gram.shape[-1], dtype=torch.double, device=gram.device)
    bent = eye - (inverses(at) @ cosine).clamp(max=0.0)  # one column per gradient
    norms = (bent * (cosine @ bent)).sum(dim=-2)
    best = norms.argmin(dim=-2)[..., None, None, :]
    chosen = bent.take_along_dim(best, dim=-3).squeeze(-3)
    return weights_of(times(chosen, at.wish * at.length), at, preferences)
