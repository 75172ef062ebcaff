import pytest
import torch
from torch.testing import assert_close

from moalign.credit import Affine, Running, batch, group, none
from moalign.records import State


def data(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator) * 3 + 5, torch.rand(*shape, generator=generator) < 0.8


def test_none_changes_nothing() -> None:
    values, mask = data(0, 2, 3, 4, 2)
    affine, state = none(values, mask, {})
    assert_close(affine(values), values, rtol=0, atol=0)
    assert state == {}


def test_group_gives_zero_mean_and_unit_std() -> None:
    values, _ = data(1, 2, 3, 6, 2)
    affine, _ = group(values, torch.ones_like(values, dtype=torch.bool), {})
    assert_close(affine(values).mean(2), torch.zeros(2, 3, 2), atol=1e-5, rtol=0)
    assert_close(affine(values).std(2), torch.ones(2, 3, 2))


def test_batch_gives_zero_mean_and_unit_std() -> None:
    values, mask = data(2, 2, 3, 6, 2)
    affine, _ = batch(values, mask, {})
    for m in range(2):
        for k in range(2):
            x = affine(values)[m, ..., k][mask[m, ..., k]]
            assert_close(torch.stack([x.mean(), x.std()]), torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)


def test_running_equals_all_values_at_once() -> None:
    normalizer = Running()
    state: State = normalizer.init(2, 3)
    seen = []
    for seed in range(4):
        values, mask = data(seed, 2, 3, 4, 3)
        affine, state = normalizer(values, mask, state)
        seen.append(torch.where(mask, values, torch.nan))
    everything = torch.cat(seen, dim=1).flatten(1, 2)
    assert_close(affine.shift[:, 0, 0], everything.nanmean(1))
    square = (everything - everything.nanmean(1, keepdim=True)).square()
    count = (~everything.isnan()).sum(1)
    assert_close(affine.scale[:, 0, 0], (square.nansum(1) / (count - 1)).sqrt())
    assert_close(state["count"], count.float())


def test_running_state_leads_with_member() -> None:
    """Gathering the state along members is gathering the members."""
    values, mask = data(5, 3, 2, 4, 2)
    normalizer = Running()
    affine, state = normalizer(values, mask, normalizer.init(3, 2))
    parents = torch.tensor([2, 0])
    alone, _ = normalizer(values[parents], mask[parents], normalizer.init(2, 2))
    assert all(x.shape == (3, 2) for x in state.values())
    assert_close(alone.shift, affine.shift[parents])


@pytest.mark.parametrize("normalizer", [none, group, batch, Running()], ids=["none", "group", "batch", "running"])
@pytest.mark.parametrize("kept", ["all", "one", "nothing"])
def test_degenerate_columns_stay_finite(normalizer, kept: str) -> None:
    values = torch.full((2, 2, 3, 1), 0.1)
    mask = torch.zeros_like(values, dtype=torch.bool)
    mask[:, :, : {"all": 3, "one": 1, "nothing": 0}[kept]] = True
    state = normalizer.init(2, 1) if isinstance(normalizer, Running) else {}
    affine, _ = normalizer(values, mask, state)
    ideal = affine(torch.ones(2, 1, 1, 1))
    assert affine(values).isfinite().all() and (ideal.abs() <= 1).all()  # no spread: shifted, never blown up


def test_the_ideal_moves_along() -> None:
    # values 1 and 3: mean 2, std 2 ** 0.5; an ideal of 4 becomes 2 / 2 ** 0.5
    values = torch.tensor([[[[1.0], [3.0]]]])
    affine, _ = group(values, torch.ones_like(values, dtype=torch.bool), {})
    assert_close(affine(torch.full((1, 1, 1, 1), 4.0)).item(), 2**0.5)
    assert isinstance(affine, Affine)
