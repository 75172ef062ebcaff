from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.records import Rows, Signals
from moalign.weighting import SampledPreferences

NAN = float("nan")


@pytest.fixture
def many(rows: Rows) -> Rows:
    """400 groups of one row, of one member."""
    count = 400
    one = replace(rows, rewards=None).select(torch.zeros(count, dtype=torch.long))
    number = torch.arange(count)
    return replace(one, members=1, member=torch.zeros(count, dtype=torch.long), group=number, index=number)


def after(controller: SampledPreferences, state: dict, step: int) -> dict:
    nothing = torch.full_like(state["concentration"], NAN)
    return controller.observe(state, Signals(step, 0.0, nothing, nothing))


@pytest.mark.parametrize(
    ("alpha", "centred", "wish"), [(1.0, False, [0.7, 0.3]), (0.3, False, [0.5, 0.5]), (2.0, True, [0.8, 0.2])]
)
def test_draws_have_the_moments_of_a_dirichlet(declare, many, alpha, centred, wish):
    controller = SampledPreferences(alpha=alpha, per="prompt", centred=centred)
    state = controller.init(torch.tensor([wish]), declare())
    weights = torch.cat([controller.weigh(after(controller, state, s), many)[0][0, :, 0] for s in range(5)])
    a = alpha * 2 * torch.tensor(wish if centred else [0.5, 0.5])
    mean = a / a.sum()
    variance = mean * (1 - mean) / (a.sum() + 1)  # of Dirichlet(a)
    assert_close(weights.mean(0), mean, atol=0.03, rtol=0)
    assert_close(weights.var(0), variance, atol=0.015, rtol=0)
    assert len(weights[:, 0].unique()) > 1900  # of 2000


def test_a_step_draws_once_and_the_next_one_anew(declare, many):
    controller = SampledPreferences()
    state = controller.init(torch.tensor([[0.5, 0.5]]), declare())
    weights, gain = controller.weigh(state, many)
    assert weights.shape == (1, 1, 1, 2) and gain.tolist() == [1.0]
    assert torch.equal(controller.weigh(state, many)[0], weights)
    assert not torch.equal(controller.weigh(after(controller, state, 0), many)[0], weights)
    # a run taken up again before step 3 draws what it would have drawn
    assert torch.equal(
        controller.weigh(after(controller, state, 2), many)[0],
        controller.weigh(after(controller, after(controller, state, 1), 2), many)[0],
    )


def test_seed_members_and_equal_members_draw_differently(declare, rows):
    def drawn(seed: int, wishes: list[list[float]]) -> torch.Tensor:
        controller = SampledPreferences(seed=seed)
        return controller.weigh(controller.init(torch.tensor(wishes), declare()), rows)[0][:, 0, 0]

    wishes = [[0.5, 0.5], [0.5, 0.5], [0.2, 0.8]]
    first = drawn(0, wishes)
    assert len(first[:, 0].unique()) == 3
    assert not torch.equal(drawn(1, wishes), first)
    assert torch.equal(drawn(0, wishes[1:]), first[[0, 2]])  # the first of its wish draws what the first of it does


def test_a_preference_of_nothing_is_never_drawn_when_centred(declare, many):
    controller = SampledPreferences(per="prompt", centred=True, alpha=0.01)
    weights, _ = controller.weigh(controller.init(torch.tensor([[0.0, 0.4, 0.6]]), declare("abc")), many)
    assert (weights[..., 0] == 0).all() and torch.isfinite(weights).all()
    assert ((weights > 0.99).any(-1)).float().mean() > 0.9  # a small alpha draws corners


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"alpha": float("inf")}, {"per": "epoch"}])
def test_refuses_impossible_options(options):
    with pytest.raises(ConfigError, match=f"`{next(iter(options))}` must"):
        SampledPreferences(**options)
