"""Imitation: the likelihood of the tokens that were given."""

from jaxtyping import Float
from torch import Tensor

from moalign.parts import register
from moalign.records import Credit, Outputs, Rows, per_row


@register("loss", "nll", test="tests/losses/test_supervised.py::test_nll_is_cross_entropy")
def nll(
    outputs: Outputs, rows: Rows, credit: Credit, *, coefficient: float | Float[Tensor, "member"] = 1.0
) -> Float[Tensor, "row token 1"]:
    r"""Return :math:`-c\log\pi(y_t)` of every token, :math:`c` ``coefficient``; with ``token_mean``, cross-entropy."""
    scale = per_row(coefficient, rows)
    return -(outputs.logprobs * (scale[:, None] if isinstance(scale, Tensor) else scale))[..., None]
