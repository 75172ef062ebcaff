"""DCPO: bounds that widen as a token's old probability shrinks."""

from jaxtyping import Float
from torch import Tensor

from moalign.losses.policy._bounds import Width, at_rows
from moalign.losses.policy._ratio import denominator
from moalign.parts import register
from moalign.records import Outputs, Rows


@register("bounds", "dcpo", paper="yang2025dcpo", test="tests/losses/test_policy.py::test_dcpo_bounds_of_the_paper")
def dcpo_bounds(
    outputs: Outputs, rows: Rows, *, epsilon: Width = 0.16, epsilon_high: Width = 0.2, r_max: float = 10.0
) -> tuple[Float[Tensor, "row token"], Float[Tensor, "row token"]]:
    r"""Keep the ratio :math:`r` where :math:`|(r-1)\,p|\le\epsilon`, with :math:`p=rq` the new probability.

    .. math:: \tfrac12+\tfrac12\sqrt{\max(1-4\epsilon_{low}/q,\,0)}\le r\le
              \min(\tfrac12+\tfrac12\sqrt{1+4\epsilon_{high}/q},\,r_{max})

    :math:`q` the old probability, :math:`\epsilon_{low}` ``epsilon``, :math:`\epsilon_{high}` ``epsilon_high``,
    :math:`r_{max}` ``r_max``: rare tokens may grow by more, in a bounded amount of probability.
    Yang et al. 2025, arXiv:2509.02333, with the cap of the authors' code (lime-RL/DCPO).
    """
    old = denominator(outputs, rows).exp().clamp(min=1e-30)  # finite roots; the cap holds long before
    lowest = 0.5 + 0.5 * (1 - 4 * at_rows(epsilon, rows) / old).clamp(min=0).sqrt()
    highest = (0.5 + 0.5 * (1 + 4 * at_rows(epsilon_high, rows) / old).sqrt()).clamp(max=r_max)
    return 1 - lowest, highest - 1
