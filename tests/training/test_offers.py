"""Offers, on a policy that only counts."""

from dataclasses import dataclass

import pytest
import torch

from moalign.errors import ConfigError
from moalign.records import Need, Policy
from moalign.training.offers import Members, Soups


@dataclass
class Counted(Policy):
    """Members whose parameters are one number each."""

    members: tuple[str, ...]
    numbers: torch.Tensor
    provides: frozenset[Need] = frozenset()
    device: torch.device = torch.device("cpu")

    def mix(self, weights, names):
        return Counted(tuple(names), weights @ self.numbers)


def test_members_are_offered_as_they_are():
    policy, preferences = Counted(("m00", "m01"), torch.tensor([1.0, 2.0])), torch.eye(2)
    offered, wished, kinds = Members()(policy, preferences, {})
    assert offered is policy and wished is preferences and kinds == ("member", "member")


def test_soups_spread_over_the_specialists():
    policy = Counted(("m00", "m01"), torch.tensor([10.0, 20.0]))
    preferences = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    soups, wished, kinds = Soups(count=5)(policy, preferences, {})
    # shares of m00 are 1, .75, .5, .25, 0: parameters 10, 12.5, ...; preference of the middle one (.55, .45)
    assert soups.numbers.tolist() == [10.0, 12.5, 15.0, 17.5, 20.0]
    torch.testing.assert_close(wished[[0, 2, 4]], torch.tensor([[0.9, 0.1], [0.55, 0.45], [0.2, 0.8]]))
    assert kinds == ("member", "soup", "soup", "soup", "member")
    assert soups.members == ("s00", "s01", "s02", "s03", "s04")


def test_soups_of_three_hold_the_corners():
    policy = Counted(("a", "b", "c"), torch.tensor([1.0, 10.0, 100.0]))
    soups, _, kinds = Soups(count=6)(policy, torch.eye(3), {})
    assert {1.0, 10.0, 100.0} <= set(soups.numbers.tolist()) and kinds.count("member") == 3


def test_count_is_checked():
    with pytest.raises(ConfigError, match="`count` is 0"):
        Soups(count=0)
