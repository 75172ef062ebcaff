"""Advantages against the mean of everything the member did in this step."""

from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._moments import moments
from moalign.parts import register


@register("estimator", "batch-centred", test="tests/credit/test_estimators.py::test_batch_centred_value")
def batch_centred(
    rewards: Float[Tensor, "member prompt group *objective"],
    mask: Bool[Tensor, "member prompt group *objective"],
) -> Float[Tensor, "member prompt group *objective"]:
    r"""Subtract the member's mean reward over the batch, :math:`r_i-\mu_B`: REINFORCE with the simplest baseline.

    :math:`r` ``rewards``, :math:`\mu_B` mean of the member's valid ones. Needs no groups, but a prompt's difficulty
    stays in the advantage.

    >>> import torch
    >>> batch_centred(torch.tensor([[[1.0], [0.0]]]), torch.ones(1, 2, 1, dtype=torch.bool))
    tensor([[[ 0.5000],
             [-0.5000]]])
    """
    return moments(rewards, mask, (1, 2))[0]
