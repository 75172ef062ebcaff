"""The normalizer with memory: statistics of everything a member has seen."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._affine import Affine
from moalign.credit._moments import moments
from moalign.credit._normalizers import scale_of
from moalign.parts import register
from moalign.records import State


@register("normalizer", "running", test="tests/credit/test_normalizers.py::test_running_equals_all_values_at_once")
@dataclass(frozen=True)
class Running:
    r"""Shift and scale each objective by the mean and unbiased std of all rewards the member has had, these included.

    Batches are merged by :math:`\delta=\mu_B-\mu`, :math:`\mu\leftarrow\mu+\delta n_B/n`,
    :math:`M\leftarrow M+M_B+\delta^2 n_A n_B/n`, with :math:`n=n_A+n_B` (Welford's recurrence for whole batches).
    State: ``count``, ``mean`` and ``squares`` (:math:`M`), each ``member objective``.
    """

    def init(self, members: int, objectives: int) -> State:
        """Return the statistics of nothing."""
        return {name: torch.zeros(members, objectives) for name in ("count", "mean", "squares")}

    def __call__(
        self,
        values: Float[Tensor, "member prompt group objective"],
        mask: Bool[Tensor, "member prompt group objective"],
        state: State,
    ) -> tuple[Affine, State]:
        before, mean, squares = (state[name].to(values) for name in ("count", "mean", "squares"))
        deviations, batch_mean, _ = moments(values, mask, (1, 2))
        new = mask.sum((1, 2)).to(values)
        count = before + new
        share = new / count.clamp(min=1)
        delta = torch.where(new > 0, batch_mean[:, 0, 0] - mean, 0)
        mean = mean + delta * share
        squares = squares + deviations.square().sum((1, 2)) + delta.square() * before * share
        std = (squares / (count - 1).clamp(min=1)).sqrt()
        affine = Affine(mean[:, None, None], scale_of(mean, std)[:, None, None])
        return affine, {"count": count, "mean": mean, "squares": squares}
