"""Means and standard deviations of what is valid; exact where all values are equal."""

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor


def moments(
    x: Shaped[Tensor, "*axes"], mask: Shaped[Tensor, "*axes"], dims: tuple[int, ...], *, unbiased: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the deviations from the mean (0 where masked), the mean and the std over `dims`, kept as axes.

    Values are measured from the smallest one before they are averaged: equal values then have *exactly* zero
    deviations, and near-constant groups keep their digits. The std of fewer than two values is 0; it is taken in units
    of a power of two near the largest deviation, so that squares of huge values do not overflow.

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
    _, power = torch.frexp(deviations.abs().amax(dims, keepdim=True))
    unit = torch.exp2(power.to(deviations))  # a power of two: dividing by it changes no digit
    squares = (deviations / unit).square().sum(dims, keepdim=True)
    return deviations, least + offset, (squares / (count - int(unbiased)).clamp(min=1)).sqrt() * unit


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
