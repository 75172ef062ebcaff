"""Staying near the run's start: estimators of KL(π ‖ π_ref) from sampled tokens."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.losses._reference import from_start
from moalign.losses.policy import token_ratio
from moalign.parts import Knob, look_up_names, part, register
from moalign.records import Couples, Credit, Need, Outputs, Rows, per_row

TokenKL = Float[Tensor, "row token"]


@register("kl", "k1", test="tests/losses/test_regularizers.py::test_estimators_by_hand", needs=[Need.REFERENCE])
def k1(outputs: Outputs, rows: Rows) -> TokenKL:
    r"""Return :math:`d=\log\pi-\log\pi_{ref}`: unbiased, but its gradient on fresh samples is 0 on average."""
    return from_start(outputs, rows)


@register("kl", "k2", test="tests/losses/test_regularizers.py::test_estimators_by_hand", needs=[Need.REFERENCE])
def k2(outputs: Outputs, rows: Rows) -> TokenKL:
    r"""Return :math:`\frac12 d^2`, :math:`d=\log\pi-\log\pi_{ref}`: biased, with the right gradient on fresh samples."""
    return from_start(outputs, rows).square() / 2


@register(
    "kl",
    "k3",
    paper="shao2024deepseekmath",
    test="tests/losses/test_regularizers.py::test_estimators_by_hand",
    needs=[Need.REFERENCE],
)
def k3(outputs: Outputs, rows: Rows) -> TokenKL:
    r"""Return :math:`e^{-d}+d-1`, :math:`d=\log\pi-\log\pi_{ref}`: unbiased and never negative (GRPO, arXiv:2402.03300)."""
    d = from_start(outputs, rows)
    return torch.expm1(-d) + d


@register("kl", "k3_ratio", test="tests/parity/test_trl.py::test_loss_and_gradients", needs=[Need.REFERENCE])
def k3_ratio(outputs: Outputs, rows: Rows) -> TokenKL:
    r"""Return `k3` times the token's ratio :math:`\pi/\pi_{old}`, TRL's default: unbiased in several passes as well."""
    return k3(outputs, rows) * token_ratio(outputs, rows).exp()


@register("loss", "kl", test="tests/losses/test_regularizers.py::test_beta_may_differ_between_members")
@dataclass(frozen=True)
class KL:
    """`beta` times an `estimator` of the divergence from the policy as the run began."""

    estimator: Any = part("kl", k3)
    beta: Knob | Tensor = 1.0
    couples: ClassVar[Couples] = Couples.ROWS

    def __post_init__(self) -> None:
        look_up_names(self)

    def __call__(self, outputs: Outputs, rows: Rows, credit: Credit) -> Float[Tensor, "row token 1"]:
        """Return each token's penalty."""
        beta: Any = self.beta  # schedules and per-member values are numbers or tensors by the time a loss runs
        beta = per_row(beta, rows)
        penalty = self.estimator(outputs, rows)
        return (penalty * (beta[:, None] if isinstance(beta, Tensor) else beta))[..., None]
