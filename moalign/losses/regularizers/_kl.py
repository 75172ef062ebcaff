"""Staying near the run's start: estimators of KL(π ‖ π_ref) from sampled tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.losses._reference import from_start
from moalign.losses.policy import token_ratio
from moalign.parts import Knob, bind, look_up_names, part, register
from moalign.records import Couples, Credit, Need, Outputs, Rows, per_row

TOKEN_RATIO = bind(token_ratio)
TokenKL = Float[Tensor, "row token"]


@register("kl", "k1", test="tests/losses/test_regularizers.py::test_estimators_by_hand", needs=[Need.REFERENCE])
def k1(outputs: Outputs, rows: Rows) -> TokenKL:
    r"""Return :math:`d=\log\pi-\log\pi_{ref}`: unbiased, but its gradient on fresh samples is 0 on average."""
    return from_start(outputs, rows)


@register("kl", "k2", test="tests/losses/test_regularizers.py::test_estimators_by_hand", needs=[Need.REFERENCE])
def k2(outputs: Outputs, rows: Rows) -> TokenKL:
    r"""Return :math:`\frac12 d^2`, :math:`d=\log\pi-\log\pi_{ref}`: biased, but with the right gradient at first."""
    return from_start(outputs, rows).square() / 2


@register(
    "kl",
    "k3",
    paper="shao2024deepseekmath",
    test="tests/losses/test_regularizers.py::test_estimators_by_hand",
    needs=[Need.REFERENCE],
)
def k3(outputs: Outputs, rows: Rows) -> TokenKL:
    r"""Return :math:`e^{-d}+d-1`, :math:`d=\log\pi-\log\pi_{ref}`: unbiased, never negative (arXiv:2402.03300)."""
    d = from_start(outputs, rows)
    return torch.expm1(-d) + d


@register("kl", "k3-ratio", test="tests/parity/test_trl.py::test_loss_and_gradients", needs=[Need.REFERENCE])
def k3_ratio(outputs: Outputs, rows: Rows, *, ratio: Callable[[Outputs, Rows], Tensor] = TOKEN_RATIO) -> TokenKL:
    r"""Return `k3` times :math:`\pi/\pi_{old}` by ``ratio``, as TRL does: unbiased in later passes as well.

    TRL takes the policy loss's own ratio: with GSPO pass ``ratio=sequence_ratio``.
    """
    return k3(outputs, rows) * ratio(outputs, rows).exp()


@register("loss", "kl", test="tests/losses/test_regularizers.py::test_beta_may_differ_between_members")
@dataclass(frozen=True)
class KL:
    """`beta` times an `estimator` of the divergence from the policy as the run began."""

    estimator: Any = part("kl", bind(k3))
    beta: Knob | Tensor = 1.0
    couples: ClassVar[Couples] = Couples.ROWS

    def __post_init__(self) -> None:
        look_up_names(self)

    @property
    def needs(self) -> frozenset[Need]:
        """A penalty of 0 needs no reference."""
        return frozenset() if _is_zero(self.beta) else frozenset({Need.REFERENCE})

    def __call__(self, outputs: Outputs, rows: Rows, credit: Credit) -> Float[Tensor, "row token 1"]:
        """Return each token's penalty."""
        beta: Any = self.beta  # schedules and per-member values are numbers or tensors by the time a loss runs
        if _is_zero(beta):
            return torch.zeros((*rows.tokens.shape, 1), device=rows.tokens.device)
        beta = per_row(beta, rows)
        penalty = self.estimator(outputs, rows)
        return (penalty * (beta[:, None] if isinstance(beta, Tensor) else beta))[..., None]


def _is_zero(beta: Any) -> bool:
    return isinstance(beta, int | float) and beta == 0
