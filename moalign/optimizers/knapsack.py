"""How to share out a whole budget: the knapsack where each item is taken in one of several sizes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from moalign.errors import ConfigError


def allocate(values: Float[Tensor, "*batch item size"], budget: int) -> Int[Tensor, "*batch item"]:
    r"""Return the sizes :math:`n_i` of largest :math:`\sum_i v_i(n_i)` among those with :math:`\sum_i n_i = B`.

    :math:`v_i(n)` is ``values[..., i, n]``, finite, for sizes from 0; :math:`B` is ``budget``, spent to the last unit.
    This is the multiple-choice knapsack, where a size costs itself, by its dynamic program: exact whatever the values,
    in items × budget × sizes steps. Of equally good solutions it is the one that gives the last item least, then the
    one before it. A budget that the largest sizes cannot hold is refused.

    >>> allocate(torch.tensor([[0.0, 1.0, 4.0], [0.0, 3.0, 5.0]]), 3)  # 4 + 3, where 1 + 5 is 6
    tensor([2, 1])
    """
    *batch, items, sizes = values.shape
    room = items * (sizes - 1)
    if not 0 <= budget <= room:
        raise ConfigError(f"`budget` must be between 0 and {room}, all that the items can take, got {budget}.")
    if not values.isfinite().all():
        raise ConfigError("`values` must be finite; give what must not be chosen a large negative value.")
    value = values.double()[..., : budget + 1]
    best = value.new_full((*batch, budget + 1), -torch.inf)  # by what is left of the budget
    best[..., budget] = 0.0
    picks: list[Tensor] = []
    for i in range(items):
        before = pad(best, (0, value.shape[-1] - 1), value=-torch.inf).unfold(-1, value.shape[-1], 1)  # [left, size]
        best, pick = (before + value[..., i, None, :]).max(dim=-1)  # of equal ones the first, so the smallest size
        picks.append(pick)
    chosen = torch.zeros((*batch, items), dtype=torch.long, device=values.device)
    left = chosen.new_zeros((*batch, 1))
    for i in reversed(range(items)):
        chosen[..., i : i + 1] = picks[i].gather(-1, left)
        left = left + chosen[..., i : i + 1]
    return chosen
