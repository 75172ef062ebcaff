"""The policy loss: ratio × bounds × surrogate."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from moalign.losses.policy._behaviour import mismatch
from moalign.losses.policy._bounds import at_rows, constant_bounds
from moalign.losses.policy._ratio import token_ratio
from moalign.losses.policy._surrogate import clipped_surrogate
from moalign.parts import Knob, bind, look_up_names, part, register
from moalign.records import Couples, Credit, Metrics, Outputs, Rows


@register("loss", "policy", test="tests/parity/test_trl.py::test_loss_and_gradients")
@dataclass(frozen=True)
class PolicyLoss:
    """The policy gradient of every channel: `surrogate` of the `ratio`, kept within `bounds`, with credit's advantages.

    All is multiplied by `coefficient`: 0 for a while (`After`) holds the policy still while value heads learn. A
    `correction` weighs tokens that an engine sampled with other log-probabilities than the trainer's; None where they
    agree, as the transformers engine's do.

    >>> from moalign.parts import bind
    >>> DAPO = PolicyLoss(bounds=bind(constant_bounds, epsilon=0.2, epsilon_high=0.28))
    >>> GSPO = PolicyLoss(ratio="sequence", bounds=bind(constant_bounds, epsilon=3e-4, epsilon_high=4e-4))
    >>> REINFORCE = PolicyLoss(surrogate="plain")
    """

    ratio: Any = part("ratio", bind(token_ratio))
    bounds: Any = part("bounds", bind(constant_bounds))
    surrogate: Any = part("surrogate", bind(clipped_surrogate))
    correction: Any = part("correction", None)
    coefficient: Knob | Tensor = 1.0
    couples: ClassVar[Couples] = Couples.ROWS

    def __post_init__(self) -> None:
        look_up_names(self)

    def __call__(self, outputs: Outputs, rows: Rows, credit: Credit) -> Float[Tensor, "row token channel"]:
        """Return each token's loss, per channel."""
        loss = self.surrogate(self.ratio(outputs, rows), credit.advantages, *self.bounds(outputs, rows))
        if self.correction is not None:
            loss = loss * self.correction(rows)[..., None]
        scale: Any = self.coefficient  # a number or one per member by the time a loss runs
        scale = at_rows(scale, rows)
        return loss * (scale[..., None] if isinstance(scale, Tensor) else scale)

    def metrics(self, rows: Rows) -> Metrics:
        """Return how far the engine that sampled the whole batch is from the trainer, if that is corrected."""
        return {} if self.correction is None else mismatch(rows, self.correction(rows))
