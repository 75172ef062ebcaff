"""PAMA: worked values, and that it is the shortest combination of parallel gradients."""

import pytest
import torch
from torch.testing import assert_close

from moalign.credit import PAMA, CreditPipeline, group_relative
from moalign.optimizers.gradients import min_norm
from moalign.parts import bind


def after(advantages: list, *, noon: bool, valid: list | None = None, weights: list | None = None) -> list:
    values = torch.tensor(advantages).view(1, 1, len(advantages), -1)
    mask = torch.ones_like(values, dtype=torch.bool) if valid is None else torch.tensor(valid).view_as(values)
    wish = torch.ones(1, 1, 1, values.shape[-1]) if weights is None else torch.tensor(weights).view(1, 1, 1, -1)
    return PAMA(noon=noon).after(values, mask, wish).flatten().tolist()


def test_worked_values() -> None:
    rows = [[2.0, 0.5], [-1.0, 3.0], [-1.0, -3.0]]
    assert after(rows, noon=True) == [0.5, 0.0, 0.0]  # the least of what is left of them above 0
    assert after(rows, noon=False) == [0.5, 0.0, -1.0]  # 0 where they disagree, else what is nearest to it


def test_missing_rewards_and_zero_weights_are_left_out() -> None:
    rows = [[2.0, -1.0, 0.5], [2.0, -1.0, 0.5]]
    assert after(rows, noon=True, valid=[[True, False, True], [False, False, False]]) == [0.5, 0.0]
    assert after(rows, noon=True, weights=[0.3, 0.0, 0.0]) == [2.0, 2.0]


@pytest.mark.parametrize("noon", [True, False])
def test_is_the_shortest_combination_of_parallel_gradients(noon: bool) -> None:
    scalars = torch.randn((40, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scalars[20:] = scalars[20:].abs() * scalars[20:, :1].sign()  # all of one sign
    seen = scalars.clamp(min=0.0) if noon else scalars
    weights = min_norm(seen.unsqueeze(-1) * seen.unsqueeze(-2), torch.ones_like(seen))
    got = PAMA(noon=noon).after(scalars.view(1, 1, 40, 3), torch.ones(1, 1, 40, 3) > 0, torch.ones(1, 1, 1, 3).double())
    assert_close(got.flatten(), (weights * seen).sum(-1), atol=1e-5, rtol=1e-5)


def test_in_a_pipeline(make_rows) -> None:
    # two completions good for one objective each, one for both: only that is taught
    rows = make_rows(torch.tensor([[[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]]]))
    pipeline = CreditPipeline(estimate=bind(group_relative, scale=False), collapse="pama")
    credit, _ = pipeline(rows, torch.ones(1, 1, 1, 2), torch.ones(1), pipeline.init(1, 2))
    assert_close(credit.advantages[:, 0, 0], torch.tensor([0.0, 0.0, 0.5, 0.0]))
