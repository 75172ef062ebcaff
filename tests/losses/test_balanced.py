from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.losses import balanced, token_mean
from moalign.records import Credit


def credit(advantages: list[float], channels: int = 1) -> Credit:
    return Credit(torch.tensor(advantages)[:, None, None].expand(-1, 4, channels))


@pytest.fixture
def group(rows):
    """Return one member's group of six, lengths 4 2 1 3 2 4, row 3 not kept."""
    zero = torch.zeros(6, dtype=torch.long)
    return replace(rows, members=1, member=zero, group=zero, prompt_id=zero)


def test_by_hand(group) -> None:
    # signs + + - (not kept) 0 -: + has 2 of 5 rows and 6 tokens, - 2 of 5 and 5 tokens, 0 has 1 of 5 and 2 tokens
    weights = balanced(group, credit([0.5, 2.0, -1.0, 1.0, 0.0, -0.1]))
    plus, minus, zero = 2 / 5 / 6, 2 / 5 / 5, 1 / 5 / 2
    assert_close(weights[:, 0], torch.tensor([plus, plus, minus, 0, zero, minus]))
    assert ((weights > 0) == (group.train_mask & group.keep[:, None])).all()


def test_signs_weigh_as_their_numbers_of_completions_however_long(group) -> None:
    advantages = [1.0, -1.0, 1.0, 0.0, -1.0, 1.0]  # + : rows 0 2 5 of 4 + 1 + 4 tokens; - : rows 1 4 of 2 + 2
    mass = balanced(group, credit(advantages)).sum(1)
    assert_close(mass[[0, 2, 5]].sum(), torch.tensor(3 / 5))
    assert_close(mass[[1, 4]].sum(), torch.tensor(2 / 5))


def test_one_sign_is_the_token_mean(group) -> None:
    one = credit([3.0] * 6)
    assert_close(balanced(group, one), token_mean(group, one))


def test_groups_are_balanced_each_by_itself(rows) -> None:
    # member 0 keeps group 0 (rows 0 1, both +) and group 1 (row 2, +): 2 of 3 rows over 6 tokens, 1 of 3 over 1
    weights = balanced(rows, credit([1.0] * 6))[:, 0]
    assert_close(weights, torch.tensor([1 / 9, 1 / 9, 1 / 3, 0, 1 / 6, 1 / 6]))


def test_each_member_alone_has_the_same_weights_and_they_sum_to_one(rows) -> None:
    signs = credit([1.0, -1.0, 1.0, 1.0, -1.0, 1.0])
    weights = balanced(rows, signs)
    assert_close(torch.zeros(2).index_add(0, rows.member, weights.sum(1)), torch.ones(2))
    assert_close(balanced(rows.select(torch.tensor([4, 5])), signs), weights[4:])


def test_a_member_without_rows_is_no_trouble(rows) -> None:
    nothing = replace(rows, members=3, keep=torch.zeros(6, dtype=torch.bool))
    assert not balanced(nothing, credit([1.0] * 6)).any()


def test_one_advantage_per_token_is_needed(rows) -> None:
    with pytest.raises(ConfigError, match="adds the objectives up"):
        balanced(rows, credit([1.0] * 6, channels=2))
