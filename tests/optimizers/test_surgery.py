"""PCGrad and GradVac: worked values, torchjd, and a slow twin that goes through all orders."""

from itertools import permutations

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.gradients import gradvac, pcgrad
from tests.optimizers.conftest import equal, gram_of, random_gradients


def slow(g: torch.Tensor, target: float) -> torch.Tensor:
    """Return the mean step on the gradients themselves, order by order."""
    total = torch.zeros_like(g[0])
    others = [[j for j in range(len(g)) if j != k] for k in range(len(g))]
    for k in range(len(g)):
        orders = list(permutations(others[k]))
        for order in orders:
            made = g[k].clone()
            for j in order:
                cosine = made @ g[j] / made.norm() / g[j].norm()
                if cosine < target:
                    numerator = target * (1 - cosine**2).sqrt() - cosine * (1 - target**2) ** 0.5
                    made = made + made.norm() * numerator / (g[j].norm() * (1 - target**2) ** 0.5) * g[j]
            total += made / len(orders)
    return total / len(g)


def test_pcgrad_of_two_worked_values() -> None:
    # (1, 1) without its part along (-3, 0) is (0, 1); (-3, 0) without its part along (1, 1) is (-1.5, 1.5)
    g = torch.tensor([[1.0, 1.0], [-3.0, 0.0]])
    assert_close(pcgrad(gram_of(g), torch.tensor([0.5, 0.5])) @ g, torch.tensor([-0.75, 1.25]))


def test_pcgrad_without_conflict_is_the_weighted_sum() -> None:
    gram = torch.ones(3, 3) + torch.eye(3)
    assert_close(pcgrad(gram, torch.tensor([0.2, 0.3, 0.5])), torch.tensor([0.2, 0.3, 0.5]))


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("target", [-0.3, 0.0, 0.4])
def test_agree_with_all_orders_one_by_one(channels: int, target: float) -> None:
    for g in random_gradients(2, channels, 6, seed=channels):
        gram = gram_of(g)
        assert_close(gradvac(gram, equal(gram), target=target) @ g, slow(g, target))
        if target == 0.0:
            assert_close(pcgrad(gram, equal(gram)) @ g, slow(g, target))


def test_agree_with_torchjd_on_two() -> None:
    from torchjd.aggregation import GradVacWeighting, PCGradWeighting

    vaccine = GradVacWeighting(beta=0.0, eps=0.0)  # a mean that never moves, so its start is the target
    for gram in gram_of(random_gradients(8, 2, 5, seed=7)):
        assert_close(2 * pcgrad(gram, equal(gram)), PCGradWeighting()(gram))
        vaccine(gram)
        vaccine._phi_t = torch.full((2, 2), 0.3, dtype=torch.float64)
        assert_close(2 * gradvac(gram, equal(gram), target=0.3), vaccine(gram))


def test_gradvac_reaches_its_target() -> None:
    g = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # each turned by the angle whose sine is 0.6
    step = gradvac(gram_of(g), torch.tensor([1.0, 1e-12]), target=0.6) @ g
    assert_close(step / step.norm(), torch.tensor([0.8, 0.6]))
    assert_close(step, torch.tensor([1.0, 0.75]))


def test_eight_at_most_and_targets_are_cosines() -> None:
    assert pcgrad(torch.eye(8), torch.ones(8)).tolist() == [1.0] * 8
    with pytest.raises(ConfigError, match="`pcgrad` mixes at most 8 channels, found 9"):
        pcgrad(torch.eye(9), torch.ones(9))
    with pytest.raises(ConfigError, match=r"`target` is 1.0; it is the cosine"):
        gradvac(torch.eye(2), torch.ones(2), target=1.0)
