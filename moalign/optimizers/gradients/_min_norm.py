"""The shortest convex combination of gradients (MGDA)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.optimizers.gradients._angles import at_most, subsets
from moalign.parts import register

RIDGE = 1e-11  # on a unit diagonal, in double precision: settles sets of linearly dependent gradients
MOST = 12  # 4095 sets


@register(
    "mixer",
    "min-norm",
    test="tests/optimizers/test_gradients.py::test_min_norm_of_two_worked_values",
    paper="sener2018multitask",
)
def min_norm(
    gram: Float[Tensor, "*batch channel channel"], preferences: Float[Tensor, "*batch channel"]
) -> Float[Tensor, "*batch channel"]:
    r"""Return weights on the simplex that minimise :math:`\|\sum_k w_k g_k\|^2 = w^\top G w`.

    :math:`G` is the ``gram`` of inner products :math:`g_k \cdot g_l`. A step along the combination improves all
    channels in use at once, by at least its squared length; it is zero where none can improve without another's loss
    (Pareto-stationary). Désidéri 2012; Sener and Koltun 2018, arXiv:1810.04650. It knows no wishes: of
    ``preferences`` only zeros count, which leave a channel out; where all are zero all weights are zero.

    The minimum has the least norm on the line, plane, ... through some set of the gradients, so all sets are solved
    in one batch, on the device, and the best combination without negative weights is the answer, up to rounding. Two
    channels give :math:`w_1 = \mathrm{clip}(g_2 \cdot (g_2 - g_1) / \|g_1 - g_2\|^2, 0, 1)`. The sets double with
    every channel: more than 12 raise `ConfigError`.

    >>> g = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> min_norm(g @ g.mT, torch.tensor([0.5, 0.5]))  # 4 / (1 + 4), 1 / (1 + 4)
    tensor([0.8000, 0.2000])
    """
    at_most(gram.shape[-1], MOST, "min-norm")
    used = preferences != 0
    candidates = _candidates(gram.double(), used)
    norms = (candidates * (gram.double().unsqueeze(-3) @ candidates.unsqueeze(-1)).squeeze(-1)).sum(dim=-1)
    best = norms.nan_to_num(nan=torch.inf).argmin(dim=-1, keepdim=True).unsqueeze(-1)
    weights = candidates.take_along_dim(best, dim=-2).squeeze(-2)
    return torch.where(used.any(dim=-1, keepdim=True), weights, 0.0).to(preferences.dtype)


def _candidates(
    gram: Float[Tensor, "*batch channel channel"], used: Bool[Tensor, "*batch channel"]
) -> Float[Tensor, "*batch set channel"]:
    """Return for each set of channels, large ones first, its weights of sum 1 and least norm, negative ones cut off.

    Gradients are first scaled to length 1, x = w |g|, or the shortest one would drown in the rounding of the longest.
    """
    sets = subsets(gram.shape[-1], gram.device) & used.unsqueeze(-2)
    length = gram.diagonal(dim1=-2, dim2=-1).clamp(min=0.0).sqrt()
    longest = length.amax(dim=-1, keepdim=True)
    length = torch.where(longest > 0, length.maximum(1e-8 * longest), 1.0)
    cosine = gram / length.unsqueeze(-1) / length.unsqueeze(-2)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    inside = sets.unsqueeze(-1) & sets.unsqueeze(-2)
    matrix = torch.where(inside, (cosine + RIDGE * eye).unsqueeze(-3), eye)  # identity rows for who is not in the set
    share = torch.where(sets, (length.amin(dim=-1, keepdim=True) / length).unsqueeze(-2), 0.0)  # sum of w = share . x
    border = torch.cat([share, share.new_zeros((*share.shape[:-1], 1))], dim=-1)
    system = torch.cat([torch.cat([matrix, share.unsqueeze(-1)], dim=-1), border.unsqueeze(-2)], dim=-2)
    target = torch.zeros_like(border)
    target[..., -1] = 1.0
    solution = torch.linalg.solve_ex(system, target.unsqueeze(-1)).result.squeeze(-1)[..., :-1]
    weights = (torch.where(sets, solution, 0.0) / length.unsqueeze(-2)).clamp(min=0.0)
    return weights / weights.sum(dim=-1, keepdim=True)
