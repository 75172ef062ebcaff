"""How far the ratio may move: the same everywhere."""

from jaxtyping import Float
from torch import Tensor

from moalign.parts import register
from moalign.records import Outputs, Rows, per_row

Width = float | Float[Tensor, "member"]
Bound = float | Float[Tensor, "row 1"]


def at_rows(value: Width, rows: Rows) -> Bound:
    """Return a number as it is, and one value per member as a column of rows."""
    value = per_row(value, rows)
    return value[:, None] if isinstance(value, Tensor) else value


@register("bounds", "constant", paper="schulman2017ppo", test="tests/losses/test_policy.py::test_clipping_by_hand")
def constant_bounds(
    outputs: Outputs, rows: Rows, *, epsilon: Width = 0.2, epsilon_high: Width | None = None
) -> tuple[Bound, Bound]:
    r"""Keep the ratio in :math:`[1-\epsilon, 1+\epsilon_{high}]`; ``epsilon_high=None`` is ``epsilon``.

    PPO: Schulman et al. 2017, arXiv:1707.06347; a larger ``epsilon_high`` is DAPO's clip-higher, arXiv:2503.14476.
    """
    return at_rows(epsilon, rows), at_rows(epsilon if epsilon_high is None else epsilon_high, rows)
