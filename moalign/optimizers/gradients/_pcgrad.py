"""Gradients without their parts against each other (PCGrad)."""

from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.gradients._angles import angles, at_most, weights_of
from moalign.optimizers.gradients._surgery import turned
from moalign.parts import register


@register(
    "mixer", "pcgrad", test="tests/optimizers/test_surgery.py::test_pcgrad_of_two_worked_values", paper="yu2020pcgrad"
)
def pcgrad(
    gram: Float[Tensor, "*batch channel channel"], preferences: Float[Tensor, "*batch channel"]
) -> Float[Tensor, "*batch channel"]:
    r"""Return weights of the sum of projected gradients: each loses, one after the other, what conflicts with another.

    :math:`g_k' \leftarrow g_k' - \frac{g_k' \cdot g_j}{\|g_j\|^2} g_j` wherever :math:`g_k' \cdot g_j < 0`, for all
    :math:`j \ne k`; the sum is :math:`\sum_k p_k g_k'`, :math:`p` ``preferences``. The paper draws the order of the
    :math:`j` at random; here :math:`g_k'` is the mean over all orders, which is the draws' expectation and depends on
    no seed. Their number grows as m!: more than 8 channels raise `ConfigError`, and 8 take some tens of milliseconds a
    member. With more than two channels the step may still conflict with one. Yu et al. 2020, arXiv:2001.06782.

    >>> import torch
    >>> g = torch.tensor([[1.0, 1.0], [-3.0, 0.0]])
    >>> pcgrad(g @ g.mT, torch.tensor([0.5, 0.5])) @ g  # half of (0, 1) and half of (-1.5, 1.5)
    tensor([-0.7500,  1.2500])
    """
    at_most(gram.shape[-1], 8, "pcgrad")
    at = angles(gram, preferences)
    return weights_of(turned(at, 0.0), at, preferences)
