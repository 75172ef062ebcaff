"""Balanced aggregation: a token's weight depends on the sign of its completion's advantage."""

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.records import Credit, Rows


@register("reduction", "balanced", paper="zeng2026balanced", test="tests/losses/test_balanced.py::test_by_hand")
def balanced(rows: Rows, credit: Credit) -> Float[Tensor, "row token"]:
    r"""Average tokens over completions of one sign, then the signs by how many completions they have (BA).

    .. math:: \frac{n_+}{G}\frac1{T_+}\sum_{A_i>0}\sum_t\ell_{it}+\frac{n_-}{G}\frac1{T_-}\sum_{A_i<0}\sum_t\ell_{it}

    in each group, then the mean over a member's completions: :math:`n` completions and :math:`T` tokens of a sign,
    :math:`G` completions. Long completions of one sign count more among themselves, never against the other sign.
    Completions of advantage 0 are a third class: they teach nothing and dilute neither. Zeng et al. 2026,
    arXiv:2605.04077.
    """
    if credit.advantages.shape[-1] != 1:
        raise ConfigError("`balanced` needs one advantage per token; bind a collapse that adds the objectives up.")
    mask = (rows.train_mask & rows.keep[:, None]).float()
    advantage = (credit.advantages[rows.index, : mask.shape[1], 0] * mask).sum(1)
    key = (rows.member * (rows.group.max() + 1) + rows.group) * 3 + advantage.sign().long() + 1

    def total(x: Float[Tensor, "row"], of: Tensor) -> Float[Tensor, "row"]:
        return torch.zeros(int(of.max()) + 1, device=x.device).index_add(0, of, x)[of]

    kept = rows.keep.float()
    share = total(kept, key) / total(kept, rows.member).clamp(min=1)
    return mask * (share / total(mask.sum(1), key).clamp(min=1))[:, None]
