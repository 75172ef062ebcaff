"""How far the log-probabilities of the engine that sampled are from the trainer's."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.records import Metrics, Rows

Weights = Float[Tensor, "row #token"]
"""What a row's tokens are multiplied by: each its own, or one for the sequence."""


def apart(rows: Rows) -> Float[Tensor, "row token"]:
    r"""Return each token's :math:`\log\pi_{old}-\log\mu`; 0 where not trained, and where the engine's is NaN (TRL)."""
    return torch.where(rows.train_mask & known(rows), _difference(rows), 0).detach()


def known(rows: Rows) -> Bool[Tensor, "row token"]:
    """Return where the engine's log-probability is a number: vLLM's may overflow."""
    return ~_difference(rows).isnan()


def mismatch(rows: Rows, weights: Weights) -> Metrics:
    """Return how far the engine is from the trainer, and the weights' range, per member, by TRL's names.

    Over trained tokens (a sequence's one weight: over the rows that have some); 0 for a member that has none.
    """
    seen = rows.train_mask & rows.keep[:, None]
    weighed = seen if weights.shape == seen.shape else seen.any(1, keepdim=True)
    found: dict[str, list[Tensor]] = {}
    for k in range(rows.members):
        own = (rows.member == k)[:, None]
        far, near = apart(rows).abs()[seen & known(rows) & own], weights[weighed & own]
        for name, x, how in (
            ("sampling/sampling_logp_difference/mean", far, torch.mean),
            ("sampling/sampling_logp_difference/max", far, torch.max),
            ("sampling/importance_sampling_ratio/min", near, torch.min),
            ("sampling/importance_sampling_ratio/mean", near, torch.mean),
            ("sampling/importance_sampling_ratio/max", near, torch.max),
        ):
            found.setdefault(name, []).append(how(x) if len(x) else x.sum())
    return {name: torch.stack(values) for name, values in found.items()}


def _difference(rows: Rows) -> Float[Tensor, "row token"]:
    if rows.behaviour_logprobs is None or rows.old_logprobs is None:
        raise ConfigError(
            "a `correction` compares `rows.old_logprobs` with `rows.behaviour_logprobs`, which this collector does not "
            "give: its rows were not sampled as they are trained. Set `correction` to None."
        )
    return rows.old_logprobs - rows.behaviour_logprobs
