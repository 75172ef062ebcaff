"""Noise with a known probability, the same every time."""

import pytest

from moalign.errors import ConfigError
from moalign.objectives import Objective
from moalign.rewards import Flipped, Scorer, TrainerState


def half(completions, **columns):
    return [None if text == "?" else 0.25 for text in completions]


def batch(prompts=400, group=3):
    return {"prompts": [f"p{i}" for i in range(prompts) for _ in range(group)], "completions": ["a"] * prompts * group}


def turned(reward, **given):
    return [value == 0.75 for value in reward(**given)]


def test_flips_the_stated_share_of_prompts_whole():
    got = turned(Flipped(half, 0.3), **batch())
    groups = [got[i : i + 3] for i in range(0, len(got), 3)]
    assert all(len(set(group)) == 1 for group in groups)
    assert sum(map(any, groups)) / 400 == pytest.approx(0.3, abs=0.08)  # 3.5 standard errors


def test_flips_each_completion_by_itself():
    got = turned(Flipped(half, 0.3, per="completion"), **batch())
    assert sum(got) / 1200 == pytest.approx(0.3, abs=0.05)
    assert any(len(set(got[i : i + 3])) == 2 for i in range(0, len(got), 3))  # alike texts are told apart


def test_the_same_seed_step_and_text_give_the_same_noise_in_any_batch():
    reward, given = Flipped(half, 0.5), batch(40)
    whole = turned(reward, **given)
    assert turned(reward, **given) == whole
    parts = [turned(reward, **{name: x[i : i + 30] for name, x in given.items()}) for i in range(0, 120, 30)]
    assert [value for part in parts for value in part] == whole
    assert turned(reward, **given, trainer_state=TrainerState(1)) != whole
    assert turned(Flipped(half, 0.5, seed=1), **given) != whole


def test_the_extremes_and_what_is_missing():
    assert Flipped(half, 0.0)(prompts=["p"], completions=["a"]) == [0.25]
    assert Flipped(half, 1.0, low=-1.0)(prompts=["p"] * 2, completions=["a", "?"]) == [-0.25, None]
    with Scorer([Objective("noisy", Flipped(half, 1.0))]) as scorer:
        assert scorer.score(["p"], ["a"], trainer_state=TrainerState(3, 5)).values.tolist() == [[0.75]]


def test_refuses_impossible_options():
    with pytest.raises(ConfigError, match="`probability` must be from 0 to 1"):
        Flipped(half, 1.5)
    with pytest.raises(ConfigError, match="`per` must be 'prompt' or 'completion', got 'row'"):
        Flipped(half, 0.5, per="row")
