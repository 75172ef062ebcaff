"""One main reward, reduced by factors: a soft violation takes a share of it instead of a sum."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.scalarizers._named import Named
from moalign.parts import register


@register("scalarizer", "product", test="tests/optimizers/test_gated.py::test_product_by_hand", paper="jaeger2025carl")
@dataclass(frozen=True)
class Product(Named):
    r"""The main reward times factors in [0, 1], :math:`r_{\mathrm{main}} \prod_k (1 - e_k (1 - f_k))`.

    .. math:: f_k = \min(1, \max(0, r_k)), \qquad e_k = w_k / \max_j w_j

    :math:`r` are ``rewards``, ``main`` the name of the one that is reduced, whatever its weight; without a name it is 1
    and all objectives are factors. A factor of 1 means no violation. With equal ``weights`` :math:`w` this is the
    paper's product; a smaller weight softens its penalty, and 0 takes it away. A main reward below 0 has nothing to
    lose and stands as it is; the ``ideal`` plays no part. Per sequence, E[u(r)], a violation costs a share of what the
    sequence earned; through `FromScalarizer` it is u(E[r]). Jaeger et al. 2025, arXiv:2504.17838, without ending
    episodes.

    >>> from moalign.optimizers.scalarizers import Axes
    >>> utility = Product(main="progress").told(Axes(("comfort", "lane", "progress"), (1, 1, 1)))
    >>> utility(torch.tensor([0.5, 1.0, 8.0]), torch.ones(3), torch.ones(3))  # 8 * 0.5 * 1
    tensor(4.)
    """

    main: str | None = None

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        most = weights.amax(dim=-1, keepdim=True)
        hardness = weights / torch.where(most > 0, most, 1)
        factors = 1 - hardness * (1 - rewards.clamp(0, 1))
        names = () if self.main is None else self.known_axes(rewards).names
        if self.main not in names:
            return factors.prod(dim=-1)
        place = names.index(self.main)
        reward = rewards[..., place]
        others = factors[..., [k for k in range(len(names)) if k != place]].prod(dim=-1)
        return torch.where(reward > 0, reward * others, reward)

    @property
    def objectives(self) -> tuple[str, ...]:
        return () if self.main is None else (self.main,)
