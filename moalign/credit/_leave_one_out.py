"""Advantages against the mean of the others in the group."""

from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._moments import moments
from moalign.parts import register


@register(
    "estimator",
    "leave-one-out",
    paper="ahmadian2024rloo",
    test="tests/credit/test_estimators.py::test_leave_one_out_value",
)
def leave_one_out(
    rewards: Float[Tensor, "member prompt group *objective"],
    mask: Bool[Tensor, "member prompt group *objective"],
) -> Float[Tensor, "member prompt group *objective"]:
    r"""Subtract the mean reward of the group's other completions, :math:`r_i-\frac{1}{n-1}\sum_{j\ne i} r_j`.

    :math:`r` ``rewards``, :math:`n` the group's valid ones. This is :math:`\frac{n}{n-1}(r_i-\mu_g)`, unbiased since
    the baseline does not see :math:`r_i`; a single value has no others and gets 0. Ahmadian et al. 2024 (RLOO),
    arXiv:2402.14740.

    >>> import torch
    >>> leave_one_out(torch.tensor([[[3.0, 0.0, 0.0]]]), torch.ones(1, 1, 3, dtype=torch.bool))
    tensor([[[ 3.0000, -1.5000, -1.5000]]])
    """
    deviations, _, _ = moments(rewards, mask, (2,))
    count = mask.sum(2, keepdim=True)
    return deviations * count / (count - 1).clamp(min=1)
