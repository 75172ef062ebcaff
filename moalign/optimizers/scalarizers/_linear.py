"""The weighted sum."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.scalarizers._base import Scalarizer
from moalign.parts import register


@register("scalarizer", "linear", test="tests/optimizers/test_scalarizers.py::test_linear_value")
@dataclass(frozen=True)
class Linear(Scalarizer):
    r"""Weighted sum, :math:`\sum_k w_k r_k`.

    :math:`r` are ``rewards``, :math:`w` ``weights``; ``ideal`` plays no part, as it would only shift the sum.
    E[u(r)] and u(E[r]) are the same here. Its maxima lie on the convex hull of the front: no weights reach a
    concave part.

    >>> import torch
    >>> Linear()(torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.4, 0.3, 0.3]), torch.ones(3))  # 0.4 + 0 + 0.15
    tensor(0.5500)
    """

    skips_weightless: ClassVar[bool] = True

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        return (weights * rewards).sum(dim=-1)
