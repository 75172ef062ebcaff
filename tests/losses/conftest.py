"""Rows for losses: two members, uneven completions, one row filtered out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from moalign.records import Credit, Outputs, Rewards, Rows


@pytest.fixture
def rows() -> Rows:
    """Return six rows of up to four tokens: members 0 0 0 0 1 1, lengths 4 2 1 3 2 4, row 3 not kept."""
    lengths = torch.tensor([4, 2, 1, 3, 2, 4])
    mask = torch.arange(4) < lengths[:, None]
    return Rows(
        members=2,
        member=torch.tensor([0, 0, 0, 0, 1, 1]),
        prompt_id=torch.tensor([0, 0, 1, 1, 0, 0]),
        group=torch.tensor([0, 0, 1, 1, 0, 0]),
        prompt_tokens=torch.zeros(6, 1, dtype=torch.long),
        prompt_mask=torch.ones(6, 1, dtype=torch.bool),
        tokens=torch.zeros(6, 4, dtype=torch.long),
        completion_mask=mask,
        train_mask=mask,
        keep=torch.tensor([True, True, True, False, True, True]),
        temperature=torch.ones(6),
        index=torch.arange(6),
    )


@pytest.fixture
def random() -> Callable[..., torch.Tensor]:
    """Return a maker of normal numbers from a seed."""
    return lambda seed, *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def case(rows: Rows, random) -> Callable[..., tuple[Outputs, Rows, Credit]]:
    """Return a maker of ``(outputs, rows, credit)`` with old and reference log-probabilities, two channels."""

    def make(**changes: Any) -> tuple[Outputs, Rows, Credit]:
        old = -random(1, 6, 4).abs()
        new = (old + 0.5 * random(2, 6, 4)).requires_grad_()
        full = replace(rows, old_logprobs=old, reference_logprobs=old + 0.3 * random(3, 6, 4))
        rewards = Rewards(
            random(6, 6, 2),
            torch.tensor([[True, True]] * 5 + [[True, False]]),
            ("a", "b"),
            torch.full((2,), torch.nan),
            torch.full((2,), torch.nan),
        )
        full = replace(full, rewards=rewards, **changes)
        outputs = Outputs(new, values=random(5, 6, 4, 2))
        advantages, targets = (x.expand(-1, 4, -1) for x in (random(4, 6, 1, 2), rewards.values[:, None]))
        return outputs, full, Credit(advantages, targets=targets)

    return make
