"""Who beats whom among the completions of a prompt."""

import random

import pytest

from moalign.rewards import WinRate
from moalign.rewards.groups import groups_of


def value(completions, **columns):
    return [None if text == "?" else float(text) for text in completions]


def test_win_rate_is_the_share_of_others_beaten():
    got = WinRate(value)(prompts=["p"] * 4, completions=["1", "3", "2", "2"])
    assert got == pytest.approx([0.0, 1.0, 1.5 / 3, 1.5 / 3])  # equal ones count half


def test_win_rates_average_to_one_half_and_ignore_the_unit():
    draw = random.Random(0)
    said = [str(draw.randint(0, 4)) for _ in range(12)]
    prompts = list("aaaabbbbcccc")
    rates = WinRate(value)(prompts=prompts, completions=said)
    for group in groups_of(prompts):
        assert sum(rates[i] or 0.0 for i in group) / len(group) == pytest.approx(0.5)
    larger = [str(10 * int(text) - 7) for text in said]
    assert WinRate(value)(prompts=prompts, completions=larger) == rates


def test_missing_is_missing():
    got = WinRate(value)(prompts=list("pppqr"), completions=["1", "?", "2", "1", "?"])
    assert got == [0.0, None, 1.0, None, None]


def test_groups_are_stretches_of_a_prompt():
    assert groups_of([]) == []
    chats = [[{"role": "user", "content": text}] for text in "aab"]
    assert groups_of(chats) == [range(0, 2), range(2, 3)]
    assert groups_of("aaab", 2) == [range(0, 2), range(2, 3), range(3, 4)]
