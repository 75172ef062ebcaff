"""Runs of tokens: repeated, and shared with the other completions of a prompt."""

import random

import pytest
from trl.rewards import get_repetition_penalty_reward

from moalign.errors import ConfigError
from moalign.rewards import DistinctFromOthers, Repetition


@pytest.mark.parametrize("size", [1, 2, 3])
def test_repetition_agrees_with_trl(size):
    draw = random.Random(size)
    rows = [[draw.randint(0, 2) for _ in range(n)] for n in range(12)]
    theirs = get_repetition_penalty_reward(ngram_size=size, max_penalty=-1.0)(rows)
    assert [-value for value in Repetition(size)(completion_ids=rows)] == pytest.approx(theirs)


def test_distinct_from_others_is_the_mean_distance_within_the_group():
    # pairs: 12 23 / 12 23 / 12 24 / 5 has none; 0 apart, 1 - 1/3, 1
    reward = DistinctFromOthers(size=2)
    rows = [[1, 2, 3], [1, 2, 3], [1, 2, 4], [5]]
    far = 2 / 3
    got = reward(prompts=["p"] * 4, completion_ids=rows)
    assert got == pytest.approx([(0 + far + 1) / 3, (0 + far + 1) / 3, (far + far + 1) / 3, 1.0])


def test_other_prompts_do_not_count_and_one_alone_has_no_diversity():
    reward = DistinctFromOthers(size=1)
    assert reward(prompts=list("ppq"), completion_ids=[[1], [2], [1]]) == [1.0, 1.0, None]
    assert reward(prompts=list("pp"), completion_ids=[[], []]) == [0.0, 0.0]
    two = DistinctFromOthers(size=1, num_generations=2)
    assert two(prompts=list("pppp"), completion_ids=[[1], [2], [1], [1]]) == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("reward", [Repetition, DistinctFromOthers])
def test_refuses_runs_of_nothing(reward):
    with pytest.raises(ConfigError, match="`size` must be at least 1, got 0"):
        reward(size=0)
