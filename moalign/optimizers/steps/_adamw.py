"""AdamW for one member's tensor."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import register


@register(
    "rule",
    "adamw",
    test="tests/optimizers/test_steps.py::test_adamw_is_torchs_adamw_for_each_member",
    paper="loshchilov2019decoupled",
)
@dataclass(frozen=True)
class AdamW:
    r"""Adam with decoupled weight decay, :math:`\Delta = -\eta (\hat m / (\sqrt{\hat v} + \epsilon) + \omega \theta)`.

    :math:`\hat m, \hat v` are the bias-corrected running means of the gradient and its square, with rates ``beta1``
    and ``beta2``; :math:`\eta` ``lr``, :math:`\epsilon` ``eps``, :math:`\omega` ``weight_decay``, :math:`\theta`
    ``param``. The running means and the delta have at least single precision. Loshchilov and Hutter 2019,
    arXiv:1711.05101.

    >>> rule, theta = AdamW(), torch.tensor([1.0, -1.0])
    >>> delta, state = rule(theta, torch.tensor([0.3, -5.0]), rule.init(theta), lr=0.1)
    >>> delta  # the first step is -lr times the sign
    tensor([-0.1000,  0.1000])
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"`{name}` must be in [0, 1), found {getattr(self, name)}; the usual is 0.9 or more.")
        if not self.eps > 0.0:
            raise ConfigError(f"`eps` must be positive, found {self.eps}; the usual value is 1e-8.")
        if not self.weight_decay >= 0.0:
            raise ConfigError(f"`weight_decay` must not be negative, found {self.weight_decay}; 0 turns it off.")

    def init(self, param: Float[Tensor, "*shape"]) -> dict[str, Tensor]:
        zeros = torch.zeros_like(param, dtype=torch.promote_types(param.dtype, torch.float32))
        return {"step": torch.zeros((), device=param.device), "mean": zeros, "square": zeros.clone()}

    def __call__(
        self,
        param: Float[Tensor, "*shape"],
        grad: Float[Tensor, "*shape"],
        state: dict[str, Tensor],
        *,
        lr: float | Float[Tensor, ""],
    ) -> tuple[Float[Tensor, "*shape"], dict[str, Tensor]]:
        grad = grad.to(state["mean"].dtype)
        step = state["step"] + 1
        mean = state["mean"].lerp(grad, 1 - self.beta1)
        square = self.beta2 * state["square"] + (1 - self.beta2) * grad.square()
        denominator = (square / _correction(self.beta2, step)).sqrt() + self.eps
        direction = mean / _correction(self.beta1, step) / denominator + self.weight_decay * param
        return -lr * direction, {"step": step, "mean": mean, "square": square}


def _correction(beta: float, step: Tensor) -> Tensor:
    """Return 1 - beta ** step; single precision would lose four digits of 1 - 0.999 in the subtraction."""
    return -torch.expm1(step * (math.log(beta) if beta > 0 else -math.inf))
