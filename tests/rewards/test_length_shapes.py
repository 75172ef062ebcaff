"""Rewards shaped by length, TRL's as oracles where it has them."""

import math

import pytest
from trl.rewards import get_cosine_scaled_reward, get_soft_overlong_punishment

from moalign.errors import ConfigError
from moalign.rewards import CosineLength, GroupLength, MathAnswer, SoftOverlong


def correct(completions, answer, **columns):
    return [None if a is None else float(c == a) for c, a in zip(completions, answer)]


def ids(*lengths):
    return [[0] * n for n in lengths]


@pytest.mark.parametrize(("longest", "buffer"), [(10, 4), (10, 10), (7, 0)])
def test_soft_overlong_agrees_with_trl(longest, buffer):
    rows = ids(*range(14))
    got = SoftOverlong(longest, buffer)(completion_ids=rows)
    assert got == pytest.approx(get_soft_overlong_punishment(longest, buffer)(rows))
    assert math.copysign(1, got[0]) == 1.0  # 0, not -0


def test_cosine_length_agrees_with_trl():
    lengths = [0, 3, 10, 14] * 2
    said = [r"\boxed{\frac{1}{3}}"] * 4 + [r"\boxed{\frac{1}{2}}"] * 4
    true = [r"\frac{1}{3}"] * 8
    theirs = get_cosine_scaled_reward(10)([[{"content": text}] for text in said], true, ids(*lengths))
    ours = CosineLength(MathAnswer(strict=True), 10)
    assert ours(completions=said, completion_ids=ids(*lengths), answer=true) == pytest.approx(theirs)
    assert ours.columns == ("answer",)


def test_cosine_length_by_hand():
    reward = CosineLength(correct, 10, right=(2.0, 1.0), wrong=(-10.0, 0.0), overlong=-10.0)
    got = reward(completions=list("aabba"), completion_ids=ids(0, 5, 0, 5, 10), answer=list("aaaaa"))
    assert got == pytest.approx([2.0, 1.5, -10.0, -5.0, -10.0])
    assert reward(completions=["a"], completion_ids=ids(1), answer=[None]) == [None]


def test_group_length_ranks_the_completions_of_a_prompt():
    # prompt p: lengths 2 6 4, shares 0.5 -0.5 0; prompt q: lengths 3 5, shares 0.5 -0.5
    reward = GroupLength(correct)
    got = reward(
        prompts=list("pppqq"), completions=list("aaabb"), completion_ids=ids(2, 6, 4, 3, 5), answer=list("aaaaa")
    )
    assert got == [0.5, -0.5, 0.0, 0.0, -0.5]  # both wrong at q: being short earns nothing


def test_group_length_of_one_or_of_equals_is_0_and_missing_stays_missing():
    reward = GroupLength(correct)
    got = reward(prompts=list("pqq"), completions=list("aaa"), completion_ids=ids(2, 3, 3), answer=["a", "a", None])
    assert got == [0.0, 0.0, None]


def test_group_length_tells_the_members_of_a_single_prompt_apart():
    given = {"prompts": list("pppp"), "completions": list("aaaa"), "answer": list("aaaa")}
    given["completion_ids"] = ids(1, 2, 10, 20)
    assert GroupLength(correct, num_generations=2)(**given) == [0.5, -0.5, 0.5, -0.5]
    assert GroupLength(correct)(**given) == pytest.approx([0.5, 0.5 - 1 / 19, 0.5 - 9 / 19, -0.5])


def test_refuses_impossible_options():
    with pytest.raises(ConfigError, match="`buffer` must be between 0 and `max_tokens`"):
        SoftOverlong(4, 5)
    with pytest.raises(ConfigError, match="`max_tokens` must be above 0"):
        CosineLength(correct, 0)
    with pytest.raises(ConfigError, match="`num_generations` must be at least 1"):
        GroupLength(correct, num_generations=0)
