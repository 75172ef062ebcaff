"""Running statistics that controllers read: a missing (NaN) observation leaves them as they were."""

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.records import Setting


def follow(
    old: Float[Tensor, "member objective"], new: Float[Tensor, "member objective"], *, memory: float
) -> Float[Tensor, "member objective"]:
    """Return the running mean `memory` * old + (1 - `memory`) * new; the first observation is taken as it is.

    >>> missing = float("nan")
    >>> follow(torch.tensor([[1.0, missing, 1.0]]), torch.tensor([[2.0, 5.0, missing]]), memory=0.75)
    tensor([[1.2500, 5.0000, 1.0000]])
    """
    moved = torch.where(old.isnan(), new, memory * old + (1 - memory) * new)
    return torch.where(new.isnan(), old, moved)


def declared_range(setting: Setting) -> Float[Tensor, "objective"]:
    """Return ideal - nadir, the unit a study declares for each objective; NaN where it declares none."""
    spread = setting.ideal - setting.nadir
    return torch.where(spread > 0, spread, torch.nan)


def normalized(
    weights: Float[Tensor, "member objective"], fallback: Float[Tensor, "member objective"]
) -> Float[Tensor, "member objective"]:
    """Return non-negative weights that sum to 1; a member without a usable weight gets its `fallback`.

    >>> normalized(torch.tensor([[3.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    tensor([[0.7500, 0.2500],
            [0.2000, 0.8000]])
    """
    usable = torch.isfinite(weights).all(dim=1, keepdim=True)
    positive = torch.where(usable, weights, 0.0).clamp(min=0)
    top = positive.amax(dim=1, keepdim=True)  # dividing by it first keeps tiny and huge weights finite
    share = positive / torch.where(top > 0, top, 1.0)
    return torch.where(top > 0, share / share.sum(dim=1, keepdim=True).clamp(min=1), fallback)


def per_member_copy(values: Float[Tensor, "objective"], members: int) -> Float[Tensor, "member objective"]:
    """Return one copy per member, so that gathering members gathers what they were told about the objectives."""
    return values.expand(members, -1).clone()


def check_share(name: str, value: float) -> None:
    """Raise `ConfigError` unless 0 <= `value` < 1."""
    if not 0 <= value < 1:
        raise ConfigError(f"`{name}` must be at least 0 and below 1, got {value}.")
