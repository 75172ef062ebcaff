"""The hypervolume scalarization: what one random direction sees of a hypervolume."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.scalarizers._named import Named, Real, names_in
from moalign.parts import register


@register(
    "scalarizer",
    "hypervolume",
    test="tests/optimizers/test_hypervolume_scalarizer.py::test_mean_over_directions_is_the_hypervolume",
    paper="golovin2020random",
)
@dataclass(frozen=True)
class HypervolumeScalarizer(Named):
    r"""Length along a direction to the power of the number of objectives, :math:`c_m \ell^m`.

    .. math:: \ell = \min_k \frac{\max(0, r_k - z_k)}{\hat w_k}, \qquad c_m = \frac{\pi^{m/2}}{2^m \Gamma(m/2 + 1)}

    :math:`r` are ``rewards``, :math:`\hat w` ``weights`` at length 1, :math:`z` the ``reference``: one number for all
    objectives, or by name; the ``ideal`` plays no part. Over directions drawn evenly from the positive part of the
    sphere, the mean of the best points' utilities is the hypervolume of the points. So as u(E[r]) (`FromScalarizer`),
    members of different weights share it out among them; per sequence, E[u(r)], each sequence is paid for what it alone
    would dominate. A larger weight asks for more. An objective of weight 0 is left out, of :math:`m` too; below the
    reference all points tie. A utility too large for its type is held at the type's largest. Golovin and Zhang 2020,
    arXiv:2006.04655.

    >>> import torch
    >>> utility = HypervolumeScalarizer()(torch.tensor([0.6, 1.0]), torch.tensor([0.6, 0.8]), torch.ones(2))
    >>> utility, torch.pi / 4  # min(0.6 / 0.6, 1.0 / 0.8) = 1
    (tensor(0.7854), 0.7853981633974483)
    """

    skips_weightless: ClassVar[bool] = True

    reference: Real | Mapping[str, Real] = 0.0

    @property
    def objectives(self) -> tuple[str, ...]:
        return names_in(self.reference)

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        wanted = weights > 0
        count = wanted.sum(dim=-1).to(rewards)
        unit = torch.nn.functional.normalize(weights, dim=-1)
        gain = (rewards - self.point(self.reference, "reference", rewards)).clamp(min=0)
        length = (gain / torch.where(wanted, unit, 1)).masked_fill(~wanted, torch.inf).amin(dim=-1)
        largest = torch.finfo(rewards.dtype).max ** (1 / count.clamp(min=1)) / 2
        length = torch.where(count > 0, torch.minimum(length, largest), 0)
        constant = (count / 2 * math.log(math.pi / 4) - (count / 2 + 1).lgamma()).exp()
        return constant * length**count
