import pytest
import torch
from torch.testing import assert_close

from moalign.credit import clip_steps, delta_steps


def steps(*rewards: float) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.tensor(rewards).view(1, -1, 1)
    return x.nan_to_num(0.0), ~x.isnan()


def test_clip_by_hand() -> None:
    # min(r - .5, 0)
    assert_close(clip_steps(*steps(0.9, 0.5, 0.2)).flatten(), torch.tensor([0.0, 0.0, -0.3]))


def test_delta_by_hand() -> None:
    # .9 - .2, .2 - .6, then the last but one as it is, the last nothing
    assert_close(delta_steps(*steps(0.9, 0.2, 0.6, 0.8)).flatten(), torch.tensor([0.7, -0.4, 0.6, 0.0]))
    assert_close(delta_steps(*steps(0.9, 0.2)).flatten(), torch.tensor([0.9, 0.0]))
    assert_close(delta_steps(*steps(0.9)).flatten(), torch.tensor([0.0]))


def test_steps_that_are_not_there_are_passed_over() -> None:
    nan = float("nan")
    got = delta_steps(*steps(0.9, nan, 0.2, 0.6, 0.8, nan)).flatten()
    assert_close(got, torch.tensor([0.7, 0.0, -0.4, 0.6, 0.0, 0.0]))
    assert clip_steps(*steps(nan, 0.2)).flatten()[0] == 0


@pytest.mark.parametrize("repeats", [1, 5, 50])
def test_repeating_a_good_step_does_not_pay(repeats: int) -> None:
    """What follows a step adds up to its reward: however often it is repeated, all are worth the first."""
    got = delta_steps(*steps(*[0.9] * repeats, 0.4, 1.0)).flatten()
    assert_close(got.sum(), torch.tensor(0.9))
    assert clip_steps(*steps(*[0.9] * repeats)).sum() == 0


def test_clipped_first() -> None:
    both = delta_steps(*steps(0.9, 0.2, 0.6, 0.8), clip=0.5)
    rewards, mask = steps(0.9, 0.2, 0.6, 0.8)
    assert_close(both, delta_steps(clip_steps(rewards, mask), mask))
