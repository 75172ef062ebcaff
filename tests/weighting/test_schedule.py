import pytest
import torch

from moalign.errors import ConfigError, UnknownNameError
from moalign.weighting import Scheduled


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0.0, [0.9, 0.1]), (0.2, [0.9, 0.1]), (0.4, [0.6, 0.4]), (0.8, [0.0, 1.0]), (0.95, [0.0, 1.0])],
)
def test_moves_linearly_between_begin_and_end(declare, show, rows, progress, expected):
    # from 0.2 to 0.8 of the run: at 0.4 a third of the way, 2/3 * 0.9 + 1/3 * 0 = 0.6
    controller = Scheduled(to={"b": 2.0}, begin=0.2, end=0.8)
    state = controller.init(torch.tensor([[0.9, 0.1], [0.9, 0.1]]), declare())
    state = controller.observe(state, show([[0.0, 0.0]] * 2, progress=progress))
    torch.testing.assert_close(controller.weigh(state, rows)[0][:, 0, 0], torch.tensor([expected] * 2))


def test_starts_at_the_preference(declare, rows):
    controller = Scheduled(to={"a": 1.0})
    state = controller.init(torch.tensor([[0.3, 0.7]]), declare())
    torch.testing.assert_close(controller.weigh(state, rows)[0][:, 0, 0], torch.tensor([[0.3, 0.7]]))


def test_names_the_objective_it_does_not_know(declare):
    with pytest.raises(UnknownNameError, match="`to` has no option `c`"):
        Scheduled(to={"c": 1.0}).init(torch.ones(1, 2), declare())


def test_refuses_an_empty_target_and_an_empty_stretch(declare):
    with pytest.raises(ConfigError, match="at least one objective of a, b"):
        Scheduled().init(torch.ones(1, 2), declare())
    with pytest.raises(ConfigError, match="0 <= begin < end <= 1"):
        Scheduled(to={"a": 1.0}, begin=0.5, end=0.5)
