"""A declared setting, rows to weigh, and a closed-form problem: a softmax bandit whose rewards lie below the chord."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from moalign.records import Rewards, Rows, Setting, Signals

NAN = float("nan")


@pytest.fixture
def rows() -> Rows:
    """One row of each of two members; the controllers here weigh members, whatever their rows."""
    ones = torch.ones(2, 1, dtype=torch.long)
    yes = torch.ones(2, 1, dtype=torch.bool)
    return Rows(
        members=2,
        member=torch.arange(2),
        prompt_id=torch.zeros(2, dtype=torch.long),
        group=torch.zeros(2, dtype=torch.long),
        prompt_tokens=ones,
        prompt_mask=yes,
        tokens=ones,
        completion_mask=yes,
        train_mask=yes,
        keep=yes[:, 0],
        temperature=torch.ones(2),
        index=torch.arange(2),
        rewards=Rewards(
            torch.zeros(2, 2), torch.ones(2, 2, dtype=torch.bool), ("a", "b"), torch.ones(2), torch.zeros(2)
        ),
    )


@pytest.fixture
def declare() -> Callable[..., Setting]:
    """Return a maker of settings: lists by field, NaN where none is given."""

    def make(names: str = "ab", **fields: list[float]) -> Setting:
        given = {
            f: torch.tensor(fields.get(f, [NAN] * len(names))) for f in ("ideal", "nadir", "reference", "thresholds")
        }
        return Setting(names=tuple(names), **given)

    return make


@pytest.fixture
def show() -> Callable[..., Signals]:
    """Return a maker of signals from means, with standard deviations of 0.5 unless given."""

    def make(means: list[list[float]], stds: list[list[float]] | None = None, progress: float = 0.0) -> Signals:
        found = torch.tensor(means)
        return Signals(0, progress, found, torch.full_like(found, 0.5) if stds is None else torch.tensor(stds))

    return make


class Bandit:
    """Members are softmax policies over 7 actions with rewards (t², (1 - t)²), t = 0, 1/6, ..., 1.

    Every action but the two ends lies below their chord x + y = 1, which is the front of the *means*.
    """

    rewards = torch.stack([torch.linspace(0, 1, 7) ** 2, (1 - torch.linspace(0, 1, 7)) ** 2], dim=1)

    def __init__(self, members: int):
        self.logits = torch.zeros(members, 7)

    @property
    def means(self) -> Tensor:
        return self.logits.softmax(dim=1) @ self.rewards

    @property
    def stds(self) -> Tensor:
        probabilities = self.logits.softmax(dim=1)
        square = (self.rewards - self.means[:, None, :]) ** 2
        return (probabilities[:, :, None] * square).sum(dim=1).sqrt()

    def ascend(self, weights: Tensor, lr: float) -> None:
        """Take one exact natural-gradient step on each member's weighted mean."""
        centred = self.rewards - self.means[:, None, :]
        self.logits = self.logits + lr * (centred * weights[:, None, :]).sum(dim=2)


@pytest.fixture
def bandit() -> Callable[[int], Bandit]:
    return Bandit
