"""Means and standard deviations of what is valid; exact where all values are equal."""

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor


def moments(
    x: Shaped[Tensor, "*axes"], mask: Shaped[Tensor, "*axes"], dims: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the deviations from the mean (0 where masked), the mean and the unbiased std over `dims`, kept as axes.

    Values are measured from the smallest one before they are averaged: equal values then have *exactly* zero
    deviations, and near-constant groups keep their digits. The std of fewer than two values is 0.

    >>> deviations, mean, std = moments(torch.full((3,), 0.1), torch.ones(3, dtype=torch.bool), (0,))
    >>> deviations.tolist(), std.tolist()
    ([0.0, 0.0, 0.0], [0.0])
    """
    count = mask.sum(dims, keepdim=True)
    least = torch.where(mask, x, torch.inf).amin(dims, keepdim=True)
    least = torch.where(count > 0, least, 0)
    above = torch.where(mask, x - least, 0)
    offset = above.sum(dims, keepdim=True) / count.clamp(min=1)
    deviations = torch.where(mask, above - offset, 0)
    variance = deviations.square().sum(dims, keepdim=True) / (count - 1).clamp(min=1)
    return deviations, least + offset, variance.sqrt()


def varies(
    x: Shaped[Tensor, "*axes"], mask: Bool[Tensor, "*axes"], dims: tuple[int, ...], *, tolerance: float = 1e-6
) -> Bool[Tensor, "..."]:
    """Say whether valid values differ over `dims` by more than rounding, relative to their size.

    >>> varies(torch.tensor([[0.3, 0.1 + 0.2], [0.3, 0.4]]), torch.ones(2, 2, dtype=torch.bool), (1,)).tolist()
    [False, True]
    """
    low = torch.where(mask, x, torch.inf).amin(dims)
    high = torch.where(mask, x, -torch.inf).amax(dims)
    return (high - low) > tolerance * torch.maximum(low.abs(), high.abs())
