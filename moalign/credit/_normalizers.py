"""Normalizers without memory: as it comes, by group, by batch."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._affine import Affine
from moalign.credit._moments import moments
from moalign.parts import register
from moalign.records import State

Grid = Float[Tensor, "member prompt group objective"]
Mask = Bool[Tensor, "member prompt group objective"]


@register("normalizer", "none", test="tests/credit/test_normalizers.py::test_none_changes_nothing")
def none(values: Grid, mask: Mask, state: State) -> tuple[Affine, State]:
    """Leave rewards as they are."""
    like = values.new_zeros((values.shape[0], 1, 1, values.shape[3]))
    return Affine(like, like + 1), state


@register("normalizer", "group", test="tests/credit/test_normalizers.py::test_group_gives_zero_mean_and_unit_std")
def group(values: Grid, mask: Mask, state: State) -> tuple[Affine, State]:
    """Shift and scale each objective by its mean and unbiased std within each prompt's group.

    A column without spread (constant, or fewer than two valid values) is only shifted.
    """
    return _z_score(values, mask, (2,)), state


@register("normalizer", "batch", test="tests/credit/test_normalizers.py::test_batch_gives_zero_mean_and_unit_std")
def batch(values: Grid, mask: Mask, state: State) -> tuple[Affine, State]:
    """Shift and scale each objective by its mean and unbiased std over all of a member's rows."""
    return _z_score(values, mask, (1, 2)), state


def _z_score(values: Grid, mask: Mask, dims: tuple[int, ...]) -> Affine:
    _, mean, std = moments(values, mask, dims)
    return Affine(mean, scale_of(mean, std))


def scale_of(mean: Tensor, std: Tensor) -> Tensor:
    """Return the std, or 1 where it is no more than rounding of the mean: dividing by it would blow up noise."""
    return torch.where(std > 1e-6 * mean.abs(), std, 1)
