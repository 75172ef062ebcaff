"""What controllers read of the objectives' gradients: their inner products, which an update tells in its metrics."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.credit import AtGradient
from moalign.records import Signals


def gram_in(
    signals: Signals, like: Float[Tensor, "member objective"]
) -> Float[Tensor, "member objective objective"] | None:
    """Return the Gram matrix of the objectives' gradients at this step, None where the update told none.

    >>> told = {"gram/0__0": torch.tensor([4.0]), "gram/0__1": torch.tensor([-1.0]), "gram/1__1": torch.tensor([9.0])}
    >>> nothing = torch.full((1, 2), torch.nan)
    >>> gram_in(Signals(0, 0.0, nothing, nothing, told), nothing)
    tensor([[[ 4., -1.],
             [-1.,  9.]]])
    """
    names = [[f"gram/{min(i, j)}__{max(i, j)}" for j in range(like.shape[1])] for i in range(like.shape[1])]
    if any(name not in signals.metrics for line in names for name in line):
        return None
    return torch.stack([torch.stack([signals.metrics[name].to(like) for name in line], 1) for line in names], 1)


def needs_gram(recipe: Any, name: str) -> list[str]:
    """Return a problem if a recipe gives each member one loss, or if its update tells no Gram matrix."""
    apart = isinstance(getattr(recipe.credit, "collapse", None), AtGradient)
    if apart and "gram" in getattr(recipe.update, "tells", ()):
        return []
    return [
        f"`weighting='{name}'` compares the objectives' gradients, and this recipe has none of its own for each; use "
        "credit.collapse='at-gradient' and update='descent'."
    ]
