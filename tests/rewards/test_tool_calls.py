"""Tool calls graded by agreement; the formula by hand, and a slow twin that tries every assignment."""

import itertools
import json
import random

import pytest

from moalign.errors import ConfigError, RewardError
from moalign.rewards import ToolCalls, ToolFormat
from moalign.rewards.tool_calls import agreement, overlap


def block(*calls):
    return "<tool_call>\n" + "\n".join(json.dumps(call) for call in calls) + "\n</tool_call>"


ADD = {"name": "add", "parameters": {"a": 1, "b": 2}}
NOW = {"name": "now", "parameters": {}}


def test_tool_calls_are_graded_by_names_parameters_and_values():
    half = {"name": "add", "parameters": {"a": 1, "c": 2}}
    said = [block(ADD, NOW), block(NOW, ADD), block(ADD), block(half, NOW), block(NOW), "nothing"]
    # of 1 + (1 + 2) + (1 + 0) = 5 points: the names J, then for each call its keys' J and its equal values
    points = [
        1 + (1 + 2) + 1,
        1 + (1 + 2) + 1,  # order does not matter
        1 / 2 + (1 + 2),
        1 + (1 / 3 + 1) + 1,  # a is shared of a, b, c, and equal
        1 / 2 + 1,
        0,
    ]
    got = ToolCalls()(completions=said, answer=[block(ADD, NOW)] * 6)
    assert got == pytest.approx([-3 + 6 * p / 5 for p in points])
    assert got[0] == 3.0 and got[-1] == -3.0


def test_the_reference_may_be_a_list_and_the_range_another():
    reward = ToolCalls(column="calls", low=0.0, high=1.0)
    said = [block(ADD), "<tool_call>" + json.dumps([ADD]) + "</tool_call>", block(ADD)]
    assert reward(completions=said, calls=[[ADD], [ADD], None]) == [1.0, 1.0, None]
    openai = {"name": "add", "arguments": json.dumps(ADD["parameters"])}
    assert reward(completions=[block(openai), "4"], calls=[[ADD], []]) == [1.0, 1.0]  # none asked for, none made
    assert reward(completions=[block(ADD)], calls=[[]]) == [0.0]
    assert reward(completions=[block(ADD)], calls=["<response>4</response>"]) == [None]


@pytest.mark.parametrize(
    "text",
    ["<tool_call>{", "<tool_call>{}</tool_call>", '<tool_call>{"name": "add"}</tool_call>', "<tool_call></tool_call>"],
)
def test_malformed_calls_are_the_worst(text):
    assert ToolCalls()(completions=[text], answer=[[ADD]]) == [-3.0]
    assert ToolCalls()(completions=[text], answer=[[]]) == [-3.0]


def test_a_reference_that_is_no_list_of_calls_is_refused():
    with pytest.raises(RewardError, match="`answer` holds what is not a list of tool calls"):
        ToolCalls()(completions=["x"], answer=[[{"parameters": {}}]])
    with pytest.raises(ConfigError, match="`low` must be below `high`"):
        ToolCalls(low=1.0, high=1.0)


def twin(right, said):
    """The best of all ways to give each right call another said call, or none."""
    best = 0.0
    for chosen in itertools.permutations([*range(len(said)), *[None] * len(right)], len(right)):
        total = 0.0
        for (name, parameters), i in zip(right, chosen):
            if i is not None and said[i][0] == name:
                other = said[i][1]
                union = len(set(parameters) | set(other))
                total += len(set(parameters) & set(other)) / union if union else 1.0
                total += sum(other.get(key) == value for key, value in parameters.items())
        best = max(best, total)
    names, others = [n for n, _ in right], [n for n, _ in said]
    shared = sum(min(names.count(n), others.count(n)) for n in set(names))
    union = len(names) + len(others) - shared
    return ((shared / union if union else 1.0) + best) / (1 + sum(1 + len(p) for _, p in right))


def test_agreement_finds_the_best_assignment():
    draw = random.Random(0)

    def call():
        return draw.choice("fg"), {key: draw.randint(0, 1) for key in draw.sample("abc", draw.randint(0, 3))}

    for _ in range(60):
        right, said = ([call() for _ in range(draw.randint(0, 3))] for _ in range(2))
        assert agreement(right, said) == pytest.approx(twin(right, said))


def test_a_greedy_match_would_lose():
    # the first right call likes said call 0 best, which the second needs more
    right = [("f", {"a": 1}), ("f", {"a": 1, "b": 2})]
    said = [("f", {"a": 1, "b": 2}), ("f", {"a": 1})]
    assert agreement(right, said) == 1.0
    assert overlap(["f", "f"], ["f"]) == 0.5 and overlap([], []) == 1.0 and overlap([], ["f"]) == 0.0


def test_tool_format_follows_the_answer():
    calls, reply = block(ADD), "<response>4</response>"
    thought = "<think>add\nthem</think>"
    said = [
        f"{thought}\n{calls}",
        f"{thought}\n{calls}\n{reply}",
        f"{thought}\n{reply}",
        thought,
        f"{calls}\n{reply}",
        f"{thought}\n{calls}\n{calls}",
    ]
    reward = ToolFormat()
    assert reward(completions=said, answer=[calls] * 6) == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert reward(completions=said, answer=[calls + reply] * 6) == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert reward(completions=said, answer=[reply] * 6) == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    assert reward(completions=said[3:4] * 2, answer=["4", None]) == [1.0, None]
