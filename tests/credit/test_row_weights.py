"""Every row carries the controller's weights, for losses that weigh the objectives themselves."""

from dataclasses import replace

import pytest
import torch

from moalign.credit import CreditPipeline

REWARDS = torch.zeros(2, 3, 2, 2)  # two members, three prompts, pairs, two objectives


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("prompts", [1, 3])
def test_every_row_carries_its_weights(make_rows, prompts, scored) -> None:
    weights = torch.rand(2, prompts, 1, 2, generator=torch.Generator().manual_seed(0))
    rows = make_rows(REWARDS)
    rows = rows if scored else replace(rows, rewards=None)
    credit, _ = CreditPipeline()(rows, weights, torch.tensor([1.0, 7.0]), CreditPipeline().init(2, 2))
    assert credit.weights is not None
    assert torch.equal(credit.weights, weights[:, :, 0].expand(2, 3, 2)[rows.member, rows.group])
