"""Gradient descent for one member's tensor."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import register


@register("rule", "sgd", test="tests/optimizers/test_steps.py::test_sgd_is_torchs_sgd_for_each_member")
@dataclass(frozen=True)
class SGD:
    r"""Gradient descent, :math:`v \leftarrow \mu v + g`, :math:`\Delta = -\eta v`.

    :math:`g` is ``grad``, :math:`\mu` ``momentum``, :math:`\eta` ``lr``. Without momentum there is no state.

    >>> rule, theta = SGD(), torch.tensor([1.0])
    >>> rule(theta, torch.tensor([2.0]), rule.init(theta), lr=0.1)
    (tensor([-0.2000]), {})
    """

    momentum: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.momentum < 1.0:
            raise ConfigError(f"`momentum` must be in [0, 1), found {self.momentum}; 0 turns it off.")

    def init(self, param: Float[Tensor, "*shape"]) -> dict[str, Tensor]:
        if not self.momentum:
            return {}
        return {"velocity": torch.zeros_like(param, dtype=torch.promote_types(param.dtype, torch.float32))}

    def __call__(
        self,
        param: Float[Tensor, "*shape"],
        grad: Float[Tensor, "*shape"],
        state: dict[str, Tensor],
        *,
        lr: float | Float[Tensor, ""],
    ) -> tuple[Float[Tensor, "*shape"], dict[str, Tensor]]:
        velocity = grad.to(torch.promote_types(param.dtype, torch.float32))
        if self.momentum:
            velocity = self.momentum * state["velocity"] + velocity
        return -lr * velocity, {"velocity": velocity} if self.momentum else {}
