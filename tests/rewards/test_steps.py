"""Rewards of every step."""

import pytest

from moalign.errors import ConfigError
from moalign.objectives import Objective
from moalign.rewards import Scorer, Steps

SEEN: list[str] = []


def share(prompts, completions, total):
    """How much of the column `total` is written so far; unknown past it."""
    SEEN.extend(completions)
    return [len(text) / t if len(text) <= t else None for text, t in zip(completions, total, strict=True)]


def test_a_reward_sees_every_beginning_and_the_steps_are_combined():
    SEEN.clear()
    completions = ["ab\n\ncd", "\n\n", "abcd\n\n\n\nefgh"]
    with Scorer([Objective("right", Steps(share, name="parts"))]) as scorer:
        assert "asks for the column `total`" in scorer.problems(["prompt"])[0]
        result = scorer.score(["p"] * 3, completions, None, {"total": [8, 8, 8]})
    assert SEEN == ["ab", "ab\n\ncd", "abcd", "abcd\n\n\n\nefgh"]
    assert result.extras["parts"] == [[2 / 8, 6 / 8], [], [4 / 8, None]]
    assert result.values[0].tolist() == [0.25] and result.valid[:, 0].tolist() == [True, False, False]
    for combine, value in (("min", 0.25), ("product", 0.25 * 0.75), ("mean", 0.5), ("last", 0.75)):
        reward = Steps(share, combine=combine)
        assert reward(prompts=["p"], completions=["ab\n\ncd"], total=[8]) == [pytest.approx(value)]


def test_chats_stay_chats_and_wrong_settings_are_told():
    def roles(completions):
        return [float(message[0]["role"] == "assistant") for message in completions]

    chat, answer = [{"role": "user", "content": "q"}], [{"role": "assistant", "content": "a;b"}]
    assert Steps(roles, ";")(prompts=[chat], completions=[answer]) == [1.0]
    with pytest.raises(ConfigError, match="`combine` of steps must be one of min, product, mean, last, not 'max'"):
        Steps(roles, combine="max")
    with pytest.raises(ConfigError, match="`delimiter` of steps is empty"):
        Steps(roles, "")
