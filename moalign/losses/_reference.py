"""The run's start and the previous iterate, as losses compare with them."""

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.records import Outputs, Rows


def from_start(outputs: Outputs, rows: Rows) -> Float[Tensor, "row token"]:
    r"""Return :math:`\log\pi_\theta-\log\pi_{ref}` of each token, 0 where not trained."""
    if rows.reference_logprobs is None:
        raise ConfigError(
            "`rows.reference_logprobs` is None, but a KL or preference loss compares with the policy as the run began; "
            "declare `needs=[Need.REFERENCE]` on the part, so that the loop fills it in."
        )
    return torch.where(rows.train_mask, outputs.logprobs - rows.reference_logprobs, 0)


def from_previous(outputs: Outputs, rows: Rows) -> Float[Tensor, "row token"]:
    r"""Return :math:`\log\pi_\theta-\log\pi_t` to the previous iterate of each token, 0 where not trained."""
    if rows.previous_logprobs is None:
        raise ConfigError(
            "`rows.previous_logprobs` is None, but a loss compares with the previous iterate; collect by "
            "`PreviousIterate(inner=...)`, which keeps it."
        )
    return torch.where(rows.train_mask, outputs.logprobs - rows.previous_logprobs, 0)
