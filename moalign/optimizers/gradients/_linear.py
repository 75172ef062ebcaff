"""Mixing channels by preference alone."""

from jaxtyping import Float
from torch import Tensor

from moalign.parts import register


@register("mixer", "linear", test="tests/optimizers/test_gradients.py::test_linear_returns_the_preferences")
def linear(
    gram: Float[Tensor, "*batch channel channel"], preferences: Float[Tensor, "*batch channel"]
) -> Float[Tensor, "*batch channel"]:
    """Return the `preferences` as weights, whatever the gradients' inner products in `gram` are.

    The mixed gradient is that of the preference-weighted sum of the losses.

    >>> import torch
    >>> linear(torch.eye(2), torch.tensor([0.3, 0.7]))
    tensor([0.3000, 0.7000])
    """
    return preferences
