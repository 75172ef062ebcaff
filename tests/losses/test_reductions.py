from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.losses import constant, sequence_mean, sequence_sum, token_mean
from moalign.parts import bind
from moalign.records import Credit

CREDIT = Credit(torch.zeros(6, 4, 1))
REDUCTIONS = [token_mean, sequence_mean, sequence_sum, bind(constant, length=8)]
each = pytest.mark.parametrize("reduce", REDUCTIONS, ids=["token_mean", "sequence_mean", "sequence_sum", "constant"])


def test_by_hand(rows) -> None:
    # kept lengths: member 0 has 4 2 1 (7 tokens, 3 rows), member 1 has 2 4 (6 tokens, 2 rows)
    first = [f(rows, CREDIT)[:, 0] for f in REDUCTIONS]
    assert_close(first[0], torch.tensor([1 / 7, 1 / 7, 1 / 7, 0, 1 / 6, 1 / 6]))
    assert_close(first[1], torch.tensor([1 / 12, 1 / 6, 1 / 3, 0, 1 / 4, 1 / 8]))
    assert_close(first[2], torch.tensor([1 / 3, 1 / 3, 1 / 3, 0, 1 / 2, 1 / 2]))
    assert_close(first[3], torch.tensor([1 / 24, 1 / 24, 1 / 24, 0, 1 / 16, 1 / 16]))


@each
def test_only_kept_and_trained_tokens_weigh(rows, reduce) -> None:
    partly = replace(rows, train_mask=rows.train_mask & (torch.arange(4) != 1))
    weights = reduce(partly, CREDIT)
    assert ((weights > 0) == (partly.train_mask & partly.keep[:, None])).all()


@pytest.mark.parametrize("reduce", [token_mean, sequence_mean], ids=["token_mean", "sequence_mean"])
def test_means_sum_to_one_for_each_member(rows, reduce) -> None:
    weights = torch.zeros(2).index_add(0, rows.member, reduce(rows, CREDIT).sum(1))
    assert_close(weights, torch.ones(2))


@each
def test_a_member_alone_has_the_same_weights(rows, reduce) -> None:
    assert_close(reduce(rows.select(torch.tensor([4, 5])), CREDIT), reduce(rows, CREDIT)[4:])


@each
def test_a_member_without_rows_is_no_trouble(rows, reduce) -> None:
    weights = reduce(replace(rows, members=3, keep=torch.zeros(6, dtype=torch.bool)), CREDIT)
    assert not weights.any()
