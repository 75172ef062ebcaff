"""Rewards around rewards: values, missing ones, and that what is inside is called, prepared and checked alike."""

import pickle

import pytest

from moalign.errors import ConfigError, RewardError
from moalign.objectives import Objective
from moalign.parts import spec
from moalign.rewards import Given, Logged, Multiplied, Picked, Scaled, Scorer, exact_number, token_count
from moalign.rewards.wrapping import Wrapping, values_of


def first(completions, first, **columns):
    return list(first)


def second(second, **columns):  # takes no completions: only what it names is handed on
    return second


def test_multiplied_takes_factors_between_0_and_1():
    reward = Multiplied(first, (second, lambda completions: [0.5] * len(completions)))
    got = reward(completions=["x"] * 4, first=[4.0, None, 2.0, -2.0], second=[1.0, 1.0, None, 0.5])
    assert got == [2.0, None, None, -0.5]
    with pytest.raises(RewardError, match=r"`factors\[0\]` gave 1.5 for sample 1; it must be from 0 to 1"):
        reward(completions=["x"] * 2, first=[1.0, 1.0], second=[1.0, 1.5])
    with pytest.raises(ConfigError, match="`factors` is empty"):
        Multiplied(first, ())


def test_given_is_otherwise_where_the_condition_fails():
    reward = Given(first, second, threshold=0.5, otherwise=-1.0)
    got = reward(completions=["x"] * 5, first=[3.0, 3.0, None, None, 3.0], second=[0.5, 0.4, 1.0, 0.0, None])
    assert got == [3.0, -1.0, None, -1.0, None]


def test_scaled_is_affine_and_clipped():
    reward = Scaled(first, by=2.0, plus=1.0, low=-1.0, high=5.0)
    assert reward(completions=["x"] * 4, first=[1.0, -3.0, 3.0, None]) == [3.0, -1.0, 5.0, None]
    with pytest.raises(ConfigError, match="`low` must not be above `high`"):
        Scaled(first, low=1.0, high=0.0)


def test_picked_takes_one_of_several_values():
    def both(completions):
        return {"a": [1.0] * len(completions), "b": [2.0, None]}

    assert Picked(both, "b")(completions=["x", "y"]) == [2.0, None]
    assert Scaled(Picked(both, "b"), by=3.0)(completions=["x", "y"]) == [6.0, None]
    with pytest.raises(RewardError, match=r"gives a, b; take one by `rewards\.Picked"):
        Scaled(both)(completions=["x", "y"])
    with pytest.raises(RewardError, match="returned a, b, not `c`"):
        Picked(both, "c")(completions=["x", "y"])


def test_logged_adds_a_column():
    with Scorer([Objective("tokens", Logged(token_count, "length"))]) as scorer:
        result = scorer.score(["p", "p"], ["a", "b"], [[1, 2], [1]])
    assert result.values.tolist() == [[2.0], [1.0]] and result.extras == {"length": [2.0, 1.0]}


def test_what_the_rewards_inside_need_is_asked_of_the_data():
    reward = Given(Multiplied(first, (second,)), exact_number("solution"))
    assert reward.columns == ("first", "second", "solution")
    with Scorer([Objective("r", reward)]) as scorer:
        assert len(scorer.problems(["first", "second"])) == 1
    with pytest.raises(RewardError, match="asks for `first`"):
        reward(completions=["x"], second=[1.0], solution=["1"])


async def later(completions, **columns):
    return [1.0 for _ in completions]


class Slow:
    ready = 0

    def prepare(self):
        type(self).ready += 1

    def __call__(self, completions, **columns):
        return [float(self.ready)] * len(completions)


def test_inner_rewards_may_be_async_named_by_a_string_or_want_to_be_prepared():
    assert values_of(later, {"completions": ["a"]}) == [1.0]
    named = Scaled("moalign.rewards:token_count", by=2.0)
    assert named(completions=["a"], completion_ids=[[1, 2]]) == [4.0]
    assert spec(named)["reward"] == "moalign.rewards:token_count"  # a string is what the record shows
    with Scorer([Objective("slow", Scaled(Scaled(Slow())))]) as scorer:
        assert scorer.score(["p"], ["a"]).values.tolist() == [[1.0]]


def test_wrappers_are_values_that_can_be_sent_to_another_process():
    reward = Given(token_count, exact_number())
    assert pickle.loads(pickle.dumps(reward)) == reward == Given(token_count, exact_number())
    assert hash(reward) == hash(Given(token_count, exact_number()))
    assert (
        isinstance(reward, Wrapping)
        and spec(reward)["condition"]["part"] == "moalign.rewards.verifier:last_number_equals"
    )
    with pytest.raises(ConfigError, match="must be a function, a model or a string"):
        Scaled(3)
