from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError, UnknownNameError
from moalign.records import Rewards, Rows
from moalign.weighting import GRPOLambda

NAN = float("nan")


@pytest.fixture
def scored(rows: Rows) -> Callable[..., Rows]:
    """Return a maker of rows from ``rewards[member prompt group objective]``; NaN is missing."""

    def make(rewards: torch.Tensor, names: str = "ab") -> Rows:
        members, prompts, group, objectives = rewards.shape
        member, prompt, _ = torch.cartesian_prod(*map(torch.arange, (members, prompts, group))).unbind(1)
        flat, n = rewards.reshape(-1, objectives), members * prompts * group
        nothing = torch.full((objectives,), NAN)
        found = Rewards(flat.nan_to_num(0.0), ~flat.isnan(), tuple(names), nothing, nothing)
        one = replace(rows, rewards=None).select(torch.zeros(n, dtype=torch.long))
        return replace(one, members=members, member=member, group=prompt, index=torch.arange(n), rewards=found)

    return make


def weigh(part: GRPOLambda, preferences: list[list[float]], declare, rows: Rows, names: str = "ab") -> torch.Tensor:
    weights, gain = part.weigh(part.init(torch.tensor(preferences), declare(names)), rows)
    assert gain.tolist() == [1.0] * rows.members
    return weights[:, :, 0]


def rewards() -> torch.Tensor:
    return torch.rand(2, 5, 4, 2, generator=torch.Generator().manual_seed(0))


def test_the_best_groups_get_the_preference(declare, scored) -> None:
    a = torch.tensor([[0.0, 0.5], [1.0, 1.0], [0.0, 0.0], [0.5, 0.5], [1.0, 0.5]])  # means 0.25, 1, 0, 0.5, 0.75
    rows = scored(torch.stack([a, 9 * (1 - a)], dim=-1)[None])  # b is best where a is worst, and does not matter
    both, alone = [0.7, 0.3], [1.0, 0.0]
    found = weigh(GRPOLambda(share=0.4), [both], declare, rows)  # two of five
    assert_close(found, torch.tensor([[alone, both, alone, alone, both]]))
    found = weigh(GRPOLambda(share=0.5), [both], declare, rows)  # two and a half of five, rounded up
    assert_close(found, torch.tensor([[alone, both, alone, both, both]]))


def test_no_group_is_plain_main_and_every_group_is_the_preference(declare, scored) -> None:
    rows, wishes = scored(rewards()), [[0.7, 0.3], [0.2, 0.8]]
    every = torch.tensor(wishes)[:, None].expand(2, 5, 2)
    assert_close(weigh(GRPOLambda(share=1.0), wishes, declare, rows), every)
    assert_close(weigh(GRPOLambda(share=0.0), wishes, declare, rows), every.round())
    assert_close(weigh(GRPOLambda(share=0.0, main="b"), wishes, declare, rows)[0], torch.tensor([[0.0, 1.0]] * 5))


def test_members_rank_their_own_groups_by_their_own_main_objective(declare, scored) -> None:
    values, wishes = rewards(), [[0.7, 0.3], [0.2, 0.8]]
    found = weigh(GRPOLambda(), wishes, declare, scored(values))
    for member, main in enumerate((0, 1)):
        assert found[member].eq(torch.tensor(wishes[member])).all(1).nonzero().tolist() == [
            [int(values[member, :, :, main].mean(1).argmax())]
        ]
        alone = weigh(GRPOLambda(), wishes[member : member + 1], declare, scored(values[member : member + 1]))
        assert_close(alone[0], found[member])


def test_neither_the_order_of_objectives_nor_of_members_matters(declare, scored) -> None:
    values, wishes = rewards(), torch.tensor([[0.5, 0.5], [0.2, 0.8]])  # a tie: both are the main objective
    found = weigh(GRPOLambda(), wishes.tolist(), declare, scored(values))
    turned = weigh(GRPOLambda(), wishes.flip(1).tolist(), declare, scored(values.flip(3), "ba"), "ba")
    assert_close(turned, found.flip(2))
    assert_close(weigh(GRPOLambda(), wishes.flip(0).tolist(), declare, scored(values.flip(0))), found.flip(0))
    assert_close(found.sum(2), torch.ones(2, 5))


def test_missing_and_dropped_rewards_count_for_nothing(declare, scored) -> None:
    a = torch.tensor([[0.6, 0.6], [0.9, NAN], [1.0, 0.0], [1.0, 1.0]])  # means 0.6, 0.9, 0.5 and, dropped, 1
    rows = scored(torch.stack([a, a], dim=-1)[None])
    rows = replace(rows, keep=rows.group != 3)
    found = weigh(GRPOLambda(share=1 / 3), [[0.7, 0.3]], declare, rows)  # one of three
    assert (found[0, :, 1] > 0).tolist() == [False, True, False, False]


def test_without_rewards_it_is_the_preference(declare, rows) -> None:
    part = GRPOLambda()
    state = part.init(torch.tensor([[0.7, 0.3], [1.0, 3.0]]), declare())
    weights, _ = part.weigh(state, replace(rows, rewards=None))
    assert_close(weights[:, 0, 0], torch.tensor([[0.7, 0.3], [0.25, 0.75]]))


def test_refuses_what_cannot_be(declare) -> None:
    with pytest.raises(ConfigError, match=r"between 0 and 1, got 1\.5"):
        GRPOLambda(share=1.5)
    with pytest.raises(UnknownNameError, match="`c`"):
        GRPOLambda(main="c").init(torch.ones(1, 2), declare())
