import math

import pytest
import torch
from torch import nan, tensor

from moalign.errors import ConfigError
from moalign.objectives import (
    Objective,
    as_objectives,
    check_reference,
    gated,
    ideal_nadir,
    problems,
    setting,
    trained,
)
from moalign.parts import bind


def one(completions, **columns):
    return [1.0 for _ in completions]


CORRECT = Objective("correct", one, threshold=0.5, bounds=(0, 1))
TOKENS = Objective("tokens", one, maximize=False, threshold=200, bounds=(0, 512))
TONE = Objective("tone", one, optimize=False)


def test_signs_turn_a_cost_once():
    assert (CORRECT.sign, TOKENS.sign) == (1, -1)
    assert CORRECT.flip(0.25) == 0.25 and TOKENS.flip(30.0) == -30.0
    assert TOKENS.flip(TOKENS.flip(30.0)) == 30.0
    assert math.copysign(1.0, TOKENS.flip(0.0)) == 1.0  # a cost of 0 is 0, not -0
    torch.testing.assert_close(TOKENS.flip(tensor([1.0, 2.0])), tensor([-1.0, -2.0]))


def test_integers_become_floats_and_bounds_know_their_better_end():
    assert TOKENS.bounds == (0.0, 512.0) and isinstance(TOKENS.bounds[1], float)
    assert (TOKENS.best, TOKENS.worst) == (0.0, 512.0)
    assert (CORRECT.best, CORRECT.worst) == (1.0, 0.0)
    assert math.isnan(TONE.best)


def test_meets_is_a_floor_or_a_ceiling():
    assert CORRECT.meets(tensor([0.4, 0.5, 0.6])).tolist() == [False, True, True]
    assert TOKENS.meets(tensor([199.0, 200.0, 201.0])).tolist() == [True, True, False]
    with pytest.raises(ConfigError, match="`tone` has no `threshold`"):
        TONE.meets(tensor([0.0]))


@pytest.mark.parametrize(
    ("value", "stderr", "shown"),
    [
        (0.81234, 0.0214, "0.812 ± 0.021"),  # two digits of the error
        (153.27, 12.4, "153 ± 12"),
        (0.5, None, "0.5"),
        (0.5, 0.0, "0.5"),
        (123456.0, nan, "1.235e+05"),
        (nan, 0.1, "missing"),
    ],
)
def test_show(value, stderr, shown):
    assert TOKENS.show(value, stderr) == shown


def test_as_objectives_takes_what_users_write():
    assert as_objectives(one) == (Objective("one", one),)
    assert as_objectives([one, TOKENS]) == (Objective("one", one), TOKENS)
    assert as_objectives({"a": one, "b": "pkg.mod:fn"}) == (Objective("a", one), Objective("b", "pkg.mod:fn"))
    assert as_objectives(bind(one)) == (Objective("one", bind(one)),)
    with pytest.raises(ConfigError, match="no name of its own"):
        as_objectives([lambda completions: [1.0]])
    with pytest.raises(ConfigError, match="not str"):
        as_objectives("correct")


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ([Objective("a")], "`a` has no `reward`"),
        ([Objective("a", one), Objective("a", one)], "2 objectives are called `a`"),
        ([Objective("a.b", one)], "without dots"),
        ([Objective("a", one, timeout=0)], "above 0 seconds"),
        ([Objective("a", one, bounds=(1, 1))], "low below high"),
        ([Objective("a", one, bounds=(0, math.inf))], "finite"),
        ([Objective("a", one, bounds=(0, 1), threshold=2)], "lies outside `bounds`"),
        ([Objective("a", one, threshold=nan)], "must be a finite number"),
        ([Objective("a", one, after="tokns", bounds=(0, 1)), TOKENS], "did you mean tokens?"),
        ([Objective("a", one, after="tone", bounds=(0, 1)), TONE], "`tone` has no `threshold`"),
        ([Objective("a", one, after="correct"), CORRECT], "needs `bounds`"),
        (
            [
                Objective("a", one, after="b", bounds=(0, 1), threshold=1),
                Objective("b", one, after="a", bounds=(0, 1), threshold=1),
            ],
            "a -> b -> a",
        ),
        ([TONE], "nothing to optimize"),
        ([], "nothing to optimize"),
    ],
)
def test_each_problem_is_told(objectives, message):
    assert any(message in problem for problem in problems(objectives)), problems(objectives)


def test_sound_objectives_have_no_problems():
    after = Objective("short", one, maximize=False, bounds=(0, 9), after="correct")
    assert problems([CORRECT, TOKENS, TONE, after]) == []


def test_all_problems_come_at_once():
    assert len(problems([Objective("a", bounds=(1, 0)), Objective("a", one)])) == 3  # reward, bounds, name


def test_setting_is_larger_is_better_and_holds_what_is_trained():
    s = setting([CORRECT, TOKENS, TONE, Objective("free", one)], {"correct": 0.1, "tokens": 512})
    assert s.names == ("correct", "tokens", "free")
    torch.testing.assert_close(s.ideal, tensor([1.0, 0.0, nan]), equal_nan=True)
    torch.testing.assert_close(s.nadir, tensor([0.0, -512.0, nan]), equal_nan=True)
    torch.testing.assert_close(s.reference, tensor([0.1, -512.0, nan]), equal_nan=True)
    torch.testing.assert_close(s.thresholds, tensor([0.5, -200.0, nan]), equal_nan=True)


def test_ideal_nadir_follow_the_objectives_given():
    ideal, nadir = ideal_nadir([TOKENS, CORRECT])
    assert ideal.tolist() == [0.0, 1.0] and nadir.tolist() == [-512.0, 0.0]
    assert trained([TONE, TOKENS]) == (TOKENS,)


def test_reference_points_are_checked_in_the_users_sign():
    objectives = [CORRECT, TOKENS, TONE]
    assert check_reference(objectives, None) == []
    assert check_reference(objectives, {"correct": 0.0, "tokens": 600}) == []
    [missing] = check_reference(objectives, {"correct": 0.0})
    assert "no value for objective `tokens`" in missing
    [unknown] = check_reference(objectives, {"correct": 0.0, "tokens": 600, "tone": 0.0})
    assert "`tone`, which is not a trained objective" in unknown
    [above, below] = check_reference(objectives, {"correct": 1.0, "tokens": 0})
    assert "must lie below the best value 1" in above and "must lie above the best value 0" in below
    [number] = check_reference(objectives, {"correct": nan, "tokens": 600})
    assert "finite number" in number


def test_a_gate_gives_the_worst_bound_where_the_other_fails():
    short = Objective("short", one, maximize=False, bounds=(0, 9), after="correct")
    values = tensor([[3.0, 1.0], [3.0, 0.0], [3.0, 0.0], [0.0, 1.0]])  # short, correct
    valid = tensor([[True, True], [True, True], [True, False], [False, True]])
    new, known = gated([short, CORRECT], values, valid)
    assert new[:2, 0].tolist() == [3.0, 9.0]  # correct >= 0.5, then not: the worst of a cost is its high bound
    assert known[:, 0].tolist() == [True, True, False, False]  # unknown gate, or itself missing: missing
    assert new[:, 1].tolist() == values[:, 1].tolist() and known[:, 1].tolist() == valid[:, 1].tolist()
    assert values[1, 0] == 3.0  # the input stays


def test_gates_chain_in_any_order():
    first = Objective("first", one, bounds=(0, 1), threshold=0.5)
    second = Objective("second", one, bounds=(0, 1), threshold=0.5, after="first")
    third = Objective("third", one, bounds=(0, 1), after="second")
    values, valid = tensor([[1.0, 1.0, 0.0]]), torch.ones(1, 3, dtype=torch.bool)
    new, _ = gated([third, second, first], values, valid)  # first fails, so second is 0 and fails, so third is 0
    assert new.tolist() == [[0.0, 0.0, 0.0]]
    with pytest.raises(ConfigError, match="`after='second'` of objective `third` is not scored here"):
        gated([third, first], values[:, :2], valid[:, :2])
    with pytest.raises(ConfigError, match="in a circle"):
        gated([Objective("x", one, bounds=(0, 1), threshold=1, after="x")], tensor([[1.0]]), tensor([[True]]))
