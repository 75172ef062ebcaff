"""Advantages against the mean of the prompt's group."""

from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._moments import moments
from moalign.parts import register


@register(
    "estimator",
    "group-relative",
    paper="shao2024deepseekmath",
    test="tests/credit/test_estimators.py::test_group_relative_value",
)
def group_relative(
    rewards: Float[Tensor, "member prompt group *objective"],
    mask: Bool[Tensor, "member prompt group *objective"],
    *,
    scale: bool = True,
    eps: float = 1e-4,
    unbiased: bool = True,
) -> Float[Tensor, "member prompt group *objective"]:
    r"""Centre rewards within each prompt's group and divide by the spread, :math:`(r_i-\mu_g)/(\sigma_g+\epsilon)`.

    :math:`r` ``rewards``, :math:`\mu_g, \sigma_g` mean and std of the group's valid rewards, :math:`\epsilon` ``eps``;
    ``unbiased`` says whether the std divides by :math:`n-1` or by :math:`n`, ``scale=False`` only centres (Dr. GRPO,
    arXiv:2503.20783). Equal or single-valued groups give exactly 0. Shao et al. 2024, arXiv:2402.03300.

    >>> import torch
    >>> group_relative(torch.tensor([[[1.0, 0.0, 1.0, 0.0]]]), torch.ones(1, 1, 4, dtype=torch.bool))
    tensor([[[ 0.8659, -0.8659,  0.8659, -0.8659]]])
    """
    deviations, _, std = moments(rewards, mask, (2,), unbiased=unbiased)
    return deviations / (std + eps) if scale else deviations


@register(
    "estimator",
    "batch-scaled",
    test="tests/parity/test_trl.py::test_advantages",
)
def batch_scaled(
    rewards: Float[Tensor, "member prompt group *objective"],
    mask: Bool[Tensor, "member prompt group *objective"],
    *,
    eps: float = 1e-4,
) -> Float[Tensor, "member prompt group *objective"]:
    r"""Centre rewards in each group and divide by the member's whole spread, :math:`(r_i-\mu_g)/(\sigma_B+\epsilon)`.

    :math:`\sigma_B` is the unbiased std of all the member's valid rewards (TRL's ``scale_rewards="batch"``), so easy
    and hard prompts keep their relative weight.

    >>> import torch
    >>> r = torch.tensor([[[1.0, 0.0], [5.0, 5.0]]])
    >>> batch_scaled(r, torch.ones_like(r, dtype=torch.bool))
    tensor([[[ 0.1901, -0.1901],
             [ 0.0000,  0.0000]]])
    """
    deviations, _, _ = moments(rewards, mask, (2,))
    return deviations / (moments(rewards, mask, (1, 2))[2] + eps)
