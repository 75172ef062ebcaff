"""From preferences to rewards to ask for: the paper's three maps."""

import pytest
import torch
from torch.testing import assert_close

from moalign.optimizers.simplex import sample_dirichlet
from moalign.rollouts import l2_target, linear_target, linf_target


def test_worked_values() -> None:
    p = torch.tensor([0.3, 0.7])
    assert linear_target(p).tolist() == p.tolist()
    # |p| = sqrt(.09 + .49) = .761577: .3 / .761577 = .393919, .7 / .761577 = .919145
    assert_close(l2_target(p), torch.tensor([0.393919, 0.919145]))
    assert_close(linf_target(p), torch.tensor([0.6, 1.0]))  # min(2 * .3, 1), min(2 * .7, 1)


@pytest.mark.parametrize("target", [linear_target, l2_target, linf_target])
def test_targets_lie_between_nothing_and_everything(target) -> None:
    p = sample_dirichlet(3, 50, generator=torch.Generator().manual_seed(0))
    asked = target(p)
    assert bool((asked >= 0).all()) and bool((asked <= 1).all())
    assert asked.argmax(dim=1).tolist() == p.argmax(dim=1).tolist() or target is linf_target
    assert_close(target(torch.eye(3)), torch.eye(3))  # who wants one thing asks for all of it and nothing else
    assert_close(target(p.flip(-1)), asked.flip(-1))


def test_linf_asks_for_all_of_what_is_wanted_most() -> None:
    p = sample_dirichlet(4, 50, generator=torch.Generator().manual_seed(1))
    assert_close(linf_target(p).gather(1, p.argmax(dim=1, keepdim=True)), torch.ones(50, 1))
