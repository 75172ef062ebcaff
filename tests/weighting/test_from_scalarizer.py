import pytest
import torch

from moalign.errors import ConfigError
from moalign.parts import named
from moalign.records import Signals
from moalign.weighting import FromScalarizer


def geometric(rewards, weights, ideal):
    """Π r_k^{w_k} in logarithms: its gradient is w_k / r_k."""
    return (weights * rewards.log()).sum(dim=-1)


def chebyshev(rewards, weights, ideal):
    return -(weights * (ideal - rewards)).amax(dim=-1)


def test_weights_are_the_gradient_at_the_mean(declare, show, rows):
    controller = FromScalarizer(geometric)
    state = controller.init(torch.tensor([[0.5, 0.5]]), declare())
    state = controller.observe(state, show([[0.2, 0.8]]))
    # gradient 0.5 / 0.2 = 2.5 and 0.5 / 0.8 = 0.625, divided by their sum 3.125
    torch.testing.assert_close(controller.weigh(state, rows)[0][:, 0, 0], torch.tensor([[0.8, 0.2]]))


def test_ideal_is_declared_or_the_best_mean_of_any_member(declare, show, rows):
    means = [[0.5, 0.1], [0.2, 0.3]]
    # second ideal 0.3: regrets of the first member 0.5 * (0.55 - 0.5) and 0.5 * (0.3 - 0.1): objective b leads
    undeclared = declare(ideal=[0.55, float("nan")])
    controller = FromScalarizer(chebyshev, floor=0.2)
    state = controller.observe(controller.init(torch.full((2, 2), 0.5), undeclared), show(means))
    weights = controller.weigh(state, rows)[0][:, 0, 0]
    torch.testing.assert_close(weights, torch.tensor([[0.1, 0.9], [0.9, 0.1]]))  # 0.2 / 2 shared out


def test_running_mean_has_memory(declare, show, rows):
    controller = FromScalarizer(geometric, memory=0.5)
    state = controller.init(torch.tensor([[0.5, 0.5]]), declare())
    for means in ([[0.2, 0.5]], [[0.6, 0.5]]):
        state = controller.observe(state, show(means))
    # mean of a: 0.5 * 0.2 + 0.5 * 0.6 = 0.4; slopes 1 / 0.4 = 2.5 and 1 / 0.5 = 2
    torch.testing.assert_close(controller.weigh(state, rows)[0][:, 0, 0], torch.tensor([[2.5 / 4.5, 2 / 4.5]]))


def test_chebyshev_of_the_mean_balances_where_linear_takes_a_corner(declare, bandit, rows):
    # max min(E[a], E[b]) on a + b = 1 is (0.5, 0.5); equal linear weights would leave it to chance, 0.6/0.4 to a corner
    controller, problem = FromScalarizer(chebyshev), bandit(1)
    setting = declare(ideal=[1.0, 1.0], nadir=[0.0, 0.0])
    state = controller.init(torch.tensor([[0.5, 0.5]]), setting)
    for _ in range(600):
        problem.ascend(controller.weigh(state, rows)[0][:, 0, 0], lr=0.1)
        state = controller.observe(state, Signals(0, 0.0, problem.means, problem.stds))
    assert float(problem.means.min()) > 0.4  # the best single action has min(1/4, 1/4) = 0.25


def test_accepts_a_registered_name():
    for name, method in named("scalarizer").items():
        assert FromScalarizer(name).scalarizer == FromScalarizer(method.part()).scalarizer
    assert FromScalarizer().scalarizer in [method.part() for method in named("scalarizer").values()]


def test_refuses_a_floor_of_one():
    with pytest.raises(ConfigError, match="`floor` must be at least 0 and below 1, got 1"):
        FromScalarizer(geometric, floor=1.0)
