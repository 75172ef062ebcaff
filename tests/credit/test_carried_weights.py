import pytest
import torch

from moalign.credit import CarriedWeights

REWARDS = torch.zeros(2, 3, 2, 2)  # two members, three prompts, pairs, two objectives


@pytest.mark.parametrize("prompts", [1, 3])
def test_every_row_carries_its_weights(make_rows, prompts) -> None:
    weights = torch.rand(2, prompts, 1, 2, generator=torch.Generator().manual_seed(0))
    rows = make_rows(REWARDS)
    credit, state = CarriedWeights()(rows, weights, torch.tensor([1.0, 7.0]), CarriedWeights().init(2, 2))
    assert state == {} and credit.targets is not None
    expected = weights[:, :, 0].expand(2, 3, 2)[rows.member, rows.group]
    assert torch.equal(credit.targets, expected)
    assert credit.advantages.shape == (12, 3, 1) and not credit.advantages.any()
