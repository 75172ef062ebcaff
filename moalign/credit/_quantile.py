"""The normalizer by ranks: a middle and a width that outliers do not move."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._affine import Affine
from moalign.credit._normalizers import scale_of
from moalign.errors import ConfigError
from moalign.parts import register
from moalign.records import State


@register("normalizer", "quantile", test="tests/credit/test_quantile.py::test_by_hand")
@dataclass(frozen=True)
class Quantile:
    r"""Shift each objective by the median of the member's rows, and scale it by :math:`Q_{high}-Q_{low}`.

    :math:`Q` quantiles, interpolated, of the member's valid rewards; ``low`` and ``high`` their levels. One reward of a
    million moves neither. Where most rewards are equal the two quantiles are, too: then the whole range is the scale,
    and a column without any is only shifted.
    """

    low: float = 0.25
    high: float = 0.75

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise ConfigError(f"`low` and `high` are levels with 0 <= low < high <= 1, got {self.low}, {self.high}.")

    def __call__(
        self,
        values: Float[Tensor, "member prompt group objective"],
        mask: Bool[Tensor, "member prompt group objective"],
        state: State,
    ) -> tuple[Affine, State]:
        known = torch.where(mask, values, torch.nan).flatten(1, 2)
        levels = values.new_tensor([0.0, self.low, 0.5, self.high, 1.0])
        least, low, median, high, most = known.nanquantile(levels, dim=1).nan_to_num(0.0).unbind()
        width = torch.where(high - low > 1e-6 * (most - least), high - low, most - least)
        return Affine(median[:, None, None], scale_of(median, width)[:, None, None]), state
