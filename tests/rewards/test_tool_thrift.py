"""Fewer tool calls for a right answer, by hand."""

from math import cos, pi, sin

import pytest

from moalign.errors import ConfigError
from moalign.rewards import ToolThrift


def correct(completions, answer, **columns):
    return [None if a is None else float(c[-1] == a) for c, a in zip(completions, answer)]


def score(reward, said, answer="4", prompts=None):
    return reward(prompts=prompts or ["p"] * len(said), completions=said, answer=[answer] * len(said))


def test_a_right_answer_with_the_fewest_calls_keeps_its_whole_reward():
    # right with 1, 2 and 3 calls: sin(pi m / (m + 1)); wrong with none
    got = score(ToolThrift(correct, "T"), ["T4", "TT4", "TTT4", "5"])
    assert got == pytest.approx([1.0, sin(2 * pi / 3), sin(3 * pi / 4), 0.0])
    assert sorted(got, reverse=True) == got


def test_where_no_call_is_needed_each_costs():
    got = score(ToolThrift(correct, "T", smoothing=2.0), ["4", "T4", "TTTT4"])
    assert got == pytest.approx([1.0, cos(pi / 4), cos(4 * pi / 10)])


def test_without_comparison_no_call_is_the_best():
    got = score(ToolThrift(correct, "T", relative=False), ["T4", "TT4"])
    assert got == pytest.approx([cos(pi / 3), cos(2 * pi / 5)])


def test_each_prompt_has_its_own_fewest_and_missing_stays_missing():
    reward = ToolThrift(correct, "T")
    said = ["TT4", "TT4", "T4", "TT4"]
    assert score(reward, said, prompts=list("ppqq")) == pytest.approx([1.0, 1.0, 1.0, sin(2 * pi / 3)])
    assert reward(prompts=["p"], completions=["T4"], answer=[None]) == [None]
    assert reward.columns == ("answer",)


def test_refuses_impossible_options():
    with pytest.raises(ConfigError, match="`smoothing` must be above 0"):
        ToolThrift(correct, smoothing=0.0)
    with pytest.raises(ConfigError, match="not a regular expression"):
        ToolThrift(correct, "(")
