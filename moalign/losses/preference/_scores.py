"""What a completion scores in a preference: its implicit reward, up to β."""

from jaxtyping import Float
from torch import Tensor

from moalign.losses._reference import from_start
from moalign.parts import register
from moalign.records import Need, Outputs, Rows


@register(
    "score", "sum", test="tests/losses/test_preference.py::test_dpo_equals_the_closed_form", needs=[Need.REFERENCE]
)
def summed(outputs: Outputs, rows: Rows) -> Float[Tensor, "row"]:
    r"""Return the completion's log-ratio to the start, :math:`\log\pi_\theta(y|x)-\log\pi_{ref}(y|x)`."""
    return from_start(outputs, rows).sum(1)


@register("score", "mean", test="tests/losses/test_preference.py::test_mean_score_is_per_token", needs=[Need.REFERENCE])
def averaged(outputs: Outputs, rows: Rows) -> Float[Tensor, "row"]:
    """Return the log-ratio to the start per token, so that a long completion weighs no more than a short one."""
    return from_start(outputs, rows).sum(1) / rows.train_mask.sum(1).clamp(min=1)
