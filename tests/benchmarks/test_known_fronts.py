"""On fronts that are known: what the levels can reach, and what they cannot."""

import pytest

from benchmarks.known_fronts import MEMBERS, every_arm, odds
from moalign.tasks.known_fronts import known_fronts

ARMS = every_arm()


def share(task: str, arm: str) -> float:
    known = known_fronts()[task]
    members = MEMBERS[known.criterion]
    best = known.best(members, starts=1) if known.criterion == "means" else known.best(members)
    return known.value(odds(known, ARMS[arm], seed=0)) / best


@pytest.mark.slow
@pytest.mark.parametrize("task", ["linear-2", "concave-2"])
def test_only_weights_that_move_hold_mixtures(task: str) -> None:
    assert share(task, "expectation/guided") >= 0.97
    assert share(task, "advantage/linear") < 0.1  # every member ends in a corner, and corners cover nothing


@pytest.mark.slow
def test_only_utilities_of_samples_find_arms_that_are_no_vertices() -> None:
    assert share("samples-concave", "reward/chebyshev") >= 0.97
    assert share("samples-concave", "advantage/linear") < 0.3
    assert share("samples-concave", "expectation/guided") < 0.3  # means gain by mixing, and no sample does


def test_every_scalarizer_with_defaults_is_an_arm_on_two_levels() -> None:
    names = {arm.partition("/")[2] for arm in ARMS if arm.startswith("reward/")}
    assert {"linear", "chebyshev", "augmented-chebyshev", "pbi"} <= names
    assert {arm.partition("/")[2] for arm in ARMS if arm.startswith("expectation/")} == names | {
        "guided", "guided-chebyshev",
    }  # fmt: skip
