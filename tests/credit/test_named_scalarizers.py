"""Scalarizers with options by name, or a number per member, where rewards are missing here and there."""

import pytest
import torch
from torch.testing import assert_close

from moalign.credit import AtReward
from moalign.optimizers.scalarizers import Axes, Desirability, Gated, Maximum, Minimum, Product, SmoothChebyshev
from moalign.parts import named

AXES = Axes(("a", "b", "c"), (1, -1, 1))


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", named("scalarizer"))
def test_a_missing_objective_is_as_if_it_did_not_exist(name: str) -> None:
    scalarizer, values = named("scalarizer")[name].part(), rand(1, 2, 3, 3)
    weights = torch.tensor([0.5, 0.3, 0.2]).view(1, 1, 1, 3)
    valid = torch.tensor([True, False, True]).expand(1, 2, 3, 3)
    got, _ = AtReward(scalarizer).before(values, valid, weights, torch.ones(1, 1, 1, 3))
    assert_close(got[..., 0], scalarizer(values[..., [0, 2]], torch.tensor([5 / 7, 2 / 7]), torch.ones(2)))


def test_names_keep_to_their_columns_when_one_is_missing() -> None:
    curves = {"a": Maximum(0, 1), "b": Minimum(0, 10), "c": Maximum(0, 4)}
    for scalarizer in (Desirability(curves).told(AXES), Product(main="c").told(AXES)):
        values = torch.tensor([0.25, -4.0, 2.0]).expand(1, 1, 2, 3)
        valid = torch.tensor([[True, True, True], [False, True, True]]).view(1, 1, 2, 3)
        weights = torch.full((1, 1, 1, 3), 1 / 3)
        got, some = AtReward(scalarizer).before(values, valid, weights, torch.ones(1, 1, 1, 3))
        partial = scalarizer.told(Axes(("b", "c"), (-1, 1)))
        assert_close(got[0, 0, 0, 0], scalarizer(values[0, 0, 0], weights[0, 0, 0], torch.ones(3)))
        assert_close(got[0, 0, 1, 0], partial(values[0, 0, 1, 1:], torch.full((2,), 0.5), torch.ones(2)))
        assert some.all()


def test_a_gate_whose_key_is_missing_stays_closed() -> None:
    gated = Gated({"c": "a"}, {"a": 0.5}).told(AXES)
    values = torch.tensor([1.0, 3.0, 5.0]).expand(1, 1, 2, 3)
    valid = torch.tensor([[True, True, True], [False, True, True]]).view(1, 1, 2, 3)
    got, _ = AtReward(gated).before(values, valid, torch.full((1, 1, 1, 3), 1 / 3), torch.ones(1, 1, 1, 3))
    assert_close(got.flatten(), torch.tensor([3.0, 1.5]))  # (1 + 3 + 5) / 3; b alone at 1/2


def test_each_member_keeps_its_own_number_when_rewards_are_missing() -> None:
    values, weights, ideal = rand(2, 3, 4, 3), torch.full((2, 1, 1, 3), 1 / 3), torch.ones(2, 1, 1, 3)
    valid = rand(2, 3, 4, 3, seed=1) > 0.4
    both, some = AtReward(SmoothChebyshev(mu=torch.tensor([1.0, 0.01]))).before(values, valid, weights, ideal)
    for member, mu in enumerate((1.0, 0.01)):
        one = slice(member, member + 1)
        alone = AtReward(SmoothChebyshev(mu=mu)).before(values[one], valid[one], weights[one], ideal[one])
        assert_close(both[one], alone[0])
        assert_close(some[one], alone[1])
