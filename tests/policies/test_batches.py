"""Blocks and micro-batches: every kept row once, groups whole, limits kept."""

import itertools

import pytest
import torch

from moalign.policies.batches import blocks, micro_batches
from moalign.records import Couples, Rows


@pytest.fixture
def rows() -> Rows:
    """Three members, two groups of four rows each, of lengths 1 to 6."""
    many = 24
    lengths = torch.randint(1, 7, (many,), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(6) < lengths[:, None]
    return Rows(
        members=3,
        member=torch.arange(3).repeat_interleave(8),
        prompt_id=torch.arange(many) // 4,
        group=(torch.arange(many) // 4) % 2,
        prompt_tokens=torch.ones(many, 2, dtype=torch.long),
        prompt_mask=torch.ones(many, 2, dtype=torch.bool),
        tokens=torch.ones(many, 6, dtype=torch.long),
        completion_mask=mask,
        train_mask=mask,
        keep=torch.arange(many) % 7 != 3,
        temperature=torch.ones(many),
        index=torch.arange(many),
    )


@pytest.mark.parametrize("couples", list(Couples))
@pytest.mark.parametrize("micro_rows", [None, 1, 3, 4, 100])
@pytest.mark.parametrize("micro_members", [1, 2, 5])
def test_every_kept_row_once(rows, couples, micro_rows, micro_members) -> None:
    parts = list(micro_batches(rows, couples=couples, micro_rows=micro_rows, micro_members=micro_members))
    assert torch.equal(torch.cat([p.index for p in parts]).sort().values, rows.index[rows.keep])
    for part in parts:
        present = part.member.unique()
        assert len(present) <= micro_members
        if couples is Couples.ROWS and micro_rows is not None:
            assert len(part) <= max(micro_rows, len(present))
        if couples is Couples.GROUPS:
            for member, group in zip(part.member.tolist(), part.group.tolist()):
                whole = rows.keep & (rows.member == member) & (rows.group == group)
                assert set(rows.index[whole].tolist()) <= set(part.index.tolist())


def test_default_is_one_member_at_a_time(rows) -> None:
    parts = list(micro_batches(rows, couples=Couples.ROWS))
    assert [p.member.unique().tolist() for p in parts] == [[0], [1], [2]]


def test_rows_of_similar_length_stand_together(rows) -> None:
    parts = list(micro_batches(rows, couples=Couples.ROWS, micro_rows=2))
    lengths = [p.completion_mask.sum(1) for p in parts if p.member[0] == 0]
    assert all(int(a.max()) <= int(b.min()) for a, b in itertools.pairwise(lengths))


def test_blocks_hold_every_row_of_their_member() -> None:
    member = torch.tensor([4, 1, 4, 4, 0])
    present, row, real = blocks(member)
    assert present == [0, 1, 4]
    assert torch.equal(member[row], torch.tensor(present)[:, None].expand(3, 3))
    assert row[real].sort().values.tolist() == [0, 1, 2, 3, 4]
