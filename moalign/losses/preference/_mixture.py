"""INPO's score: a completion against a geometric mixture of the run's start and the previous iterate."""

from jaxtyping import Float
from torch import Tensor

from moalign.losses._reference import from_previous, from_start
from moalign.parts import register
from moalign.records import Need, Outputs, Rows, per_row


@register(
    "score",
    "mixture",
    paper="zhang2024inpo",
    test="tests/losses/test_mixture.py::test_inpo_equals_the_papers_formula",
    needs=[Need.REFERENCE, Need.PREVIOUS],
)
def mixture(outputs: Outputs, rows: Rows, *, share: float | Float[Tensor, "member"] = 1 / 3) -> Float[Tensor, "row"]:
    r"""Return :math:`\log\pi_\theta(y|x)-s\log\pi_{ref}(y|x)-(1-s)\log\pi_t(y|x)`.

    :math:`s` in [0, 1] is ``share``, the start's part in what the completion is compared with, and :math:`\pi_t` the
    previous iterate. With the link `ipo` of ``beta`` :math:`\eta` it is INPO's loss
    :math:`(h_t(y_w,y_l)-\frac1{2\eta})^2`, :math:`s=\tau/\eta`. With :math:`s=1`, or while the iterate is the start,
    it is `summed`. Zhang et al. 2024, arXiv:2407.00617, section 3.2 and Algorithm 1; a third is the paper's.
    """
    s = per_row(share, rows)
    return s * from_start(outputs, rows).sum(1) + (1 - s) * from_previous(outputs, rows).sum(1)
