"""Rows for credit: a group per prompt, the same number of completions in each."""

from collections.abc import Callable

import pytest
import torch

from moalign.records import Rewards, Rows


@pytest.fixture
def make_rows() -> Callable[..., Rows]:
    """Return a maker of rows from ``rewards[member prompt group objective]``; NaN is missing."""

    def make(rewards: torch.Tensor, *, keep: torch.Tensor | None = None, ideal: torch.Tensor | None = None) -> Rows:
        members, prompts, group, objectives = rewards.shape
        n, length = members * prompts * group, 3
        where = torch.cartesian_prod(torch.arange(members), torch.arange(prompts), torch.arange(group))
        where = where.view(n, 3)
        flat = rewards.reshape(n, objectives)
        nothing = torch.full((objectives,), torch.nan)
        return Rows(
            members=members,
            member=where[:, 0],
            prompt_id=where[:, 1],
            group=where[:, 1],
            prompt_tokens=torch.zeros(n, 2, dtype=torch.long),
            prompt_mask=torch.ones(n, 2, dtype=torch.bool),
            tokens=torch.zeros(n, length, dtype=torch.long),
            completion_mask=torch.ones(n, length, dtype=torch.bool),
            train_mask=torch.ones(n, length, dtype=torch.bool),
            keep=torch.ones(n, dtype=torch.bool) if keep is None else keep.reshape(n),
            temperature=torch.ones(n),
            index=torch.arange(n),
            rewards=Rewards(
                values=flat.nan_to_num(0.0),
                valid=~flat.isnan(),
                names=tuple(f"r{k}" for k in range(objectives)),
                ideal=nothing if ideal is None else ideal,
                nadir=nothing,
            ),
        )

    return make


@pytest.fixture
def golden() -> torch.Tensor:
    """Return one group of four completions with three binary rewards."""
    return torch.tensor([[[[1.0, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1]]]])
