"""Value heads learn the returns of the completions they stand in."""

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.records import Credit, Need, Outputs, Rows


@register("loss", "value-mse", test="tests/losses/test_value.py::test_value_by_hand", needs=[Need.VALUES])
def value_mse(
    outputs: Outputs, rows: Rows, credit: Credit, *, coefficient: float = 1.0
) -> Float[Tensor, "row token 1"]:
    r"""Return :math:`c\sum_k(v_{tk}-R_{tk})^2`, one head per objective; a missing reward asks nothing of it.

    :math:`v` ``outputs.values``, :math:`R` ``credit.targets``, :math:`c` ``coefficient``.
    """
    if outputs.values is None or credit.targets is None or rows.rewards is None:
        raise ConfigError("`value_mse` needs a policy with value heads and rows with rewards; leave the term out.")
    error = outputs.values - credit.targets
    return coefficient * torch.where(rows.rewards.valid[:, None, :], error, 0).square().sum(-1, keepdim=True)
