"""Placement: which tokens a row's advantage belongs to."""

from jaxtyping import Float
from torch import Tensor

from moalign.parts import register
from moalign.records import Rows


@register("placement", "spread", test="tests/credit/test_pipeline.py::test_spread_gives_every_token_the_rows_advantage")
def spread(
    rows: Rows, advantages: Float[Tensor, "row channel"], weights: Float[Tensor, "row objective"]
) -> Float[Tensor, "row token channel"]:
    """Give every token of a row the row's advantage; what weights do, the collapse or the update has done."""
    return advantages[:, None, :].expand(-1, rows.tokens.shape[1], -1)
