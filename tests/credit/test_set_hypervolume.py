import itertools
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from moalign.credit import CreditPipeline, SetHypervolume, group_relative
from moalign.errors import ConfigError
from moalign.parts import bind


def worth(points: torch.Tensor, *, valid=None, weights=None, reference: float = 0.0) -> tuple[torch.Tensor, list[bool]]:
    x = points[None, None]
    known = torch.ones_like(x, dtype=torch.bool) if valid is None else valid[None, None]
    w = torch.ones(1, 1, 1, x.shape[3]) if weights is None else torch.tensor(weights).view(1, 1, 1, -1)
    values, some = SetHypervolume(reference).before(x, known, w, torch.zeros(1, 1, 1, x.shape[3]))
    return values[0, 0, :, 0], some[0, 0, :, 0].tolist()


def by_inclusion_and_exclusion(points: torch.Tensor, reference: float) -> float:
    """Return the volume of a union of boxes, every subset's overlap added or taken away."""
    above = (points - reference).clamp(min=0)
    return sum(
        (-1) ** (size + 1) * float(above[list(some)].amin(0).prod())
        for size in range(1, len(points) + 1)
        for some in itertools.combinations(range(len(points)), size)
    )


def test_by_hand() -> None:
    # (2 1) and (1 2) own a unit square each beyond the one they share with (1 1), which owns nothing
    got, some = worth(torch.tensor([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0]]))
    assert got.tolist() == [1.0, 1.0, 0.0] and some == [True] * 3
    # from a reference of -1: 3 x 2 and 2 x 3 share 2 x 2
    assert worth(torch.tensor([[2.0, 1.0], [1.0, 2.0]]), reference=-1.0)[0].tolist() == [2.0, 2.0]


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_equals_the_volume_with_and_without(objectives: int) -> None:
    points = torch.rand(5, objectives, generator=torch.Generator().manual_seed(objectives)) - 0.2
    whole = by_inclusion_and_exclusion(points, 0.0)
    expected = [whole - by_inclusion_and_exclusion(points[torch.arange(5) != i], 0.0) for i in range(5)]
    assert_close(worth(points)[0], torch.tensor(expected), atol=1e-6, rtol=0)


def test_equal_answers_are_worth_nothing() -> None:
    assert worth(torch.tensor([[1.0, 2.0], [1.0, 2.0], [2.0, 0.5]]))[0].tolist() == [0.0, 0.0, 0.5]


def test_only_what_has_weight_counts_and_how_much_does_not_matter() -> None:
    points = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 9.0]])
    assert worth(points, weights=[0.5, 0.5, 0.0])[0].tolist() == [1.0, 1.0]
    assert worth(points, weights=[0.9, 0.1, 0.0])[0].tolist() == [1.0, 1.0]
    assert worth(points, weights=[0.0, 0.0, 0.0]) == (pytest.approx([0.0, 0.0]), [False, False])


def test_a_completion_that_lacks_a_reward_is_no_point() -> None:
    valid = torch.tensor([[True, True], [True, False], [True, True]])
    got, some = worth(torch.tensor([[2.0, 1.0], [9.0, 0.0], [1.0, 2.0]]), valid=valid)
    assert got.tolist() == [1.0, 0.0, 1.0] and some == [True, False, True]
    got, some = worth(torch.tensor([[2.0, 1.0], [9.0, 0.0], [1.0, 2.0]]), valid=valid, weights=[1.0, 0.0])
    assert some == [True] * 3 and got.tolist() == [0.0, 7.0, 0.0]  # one objective: the best by as much as it is better


def test_in_a_pipeline(make_rows) -> None:
    rewards = torch.tensor([[[[2.0, 1.0], [1.0, 2.0], [1.0, 1.0]], [[1.0, 1.0]] * 3]])
    pipeline = CreditPipeline(estimate=bind(group_relative, scale=False), collapse="set_hypervolume")
    credit, _ = pipeline(make_rows(rewards), torch.ones(1, 1, 1, 2), torch.ones(1), pipeline.init(1, 2))
    assert_close(credit.advantages[:, 0, 0], torch.tensor([1 / 3, 1 / 3, -2 / 3, 0, 0, 0]))


def test_what_does_not_fit_is_refused() -> None:
    assert SetHypervolume().problems(SimpleNamespace(num_generations=2)) == []
    assert "must be at least 2" in SetHypervolume().problems(SimpleNamespace(num_generations=1))[0]
    with pytest.raises(ConfigError, match="`reference` must be a finite number, got nan"):
        SetHypervolume(float("nan"))
