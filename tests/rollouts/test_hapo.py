"""A length reward that remembers, on rows made by hand."""

from dataclasses import replace
from math import cos, pi
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError, UnknownNameError
from moalign.records import Environment, Policy, Rewards, Rows
from moalign.rollouts import HAPO
from moalign.training.gather import gather_state


class Nobody(Policy):
    """The collector reads neither policy nor environment: the wrapped one does."""


class Nowhere(Environment):
    pass


def rows(lengths, right, *, member=None, problem=None, valid=None) -> Rows:
    n = len(lengths)
    member = torch.tensor(member or [0] * n)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ones = torch.ones(n, 1, dtype=torch.long)
    there = torch.ones(n, 2, dtype=torch.bool)
    there[:, 1] = torch.tensor(valid or [True] * n)
    values = torch.stack([torch.full((n,), 9.0), torch.tensor(right)], dim=1)
    return Rows(
        members=int(member.max()) + 1,
        member=member,
        prompt_id=torch.tensor(problem or [0] * n),
        group=torch.zeros(n, dtype=torch.long),
        prompt_tokens=ones,
        prompt_mask=ones.bool(),
        tokens=torch.zeros(n, max(lengths), dtype=torch.long),
        completion_mask=mask,
        train_mask=mask,
        keep=torch.ones(n, dtype=torch.bool),
        temperature=torch.ones(n),
        index=torch.arange(n),
        rewards=Rewards(values, there, ("length", "correct"), torch.full((2,), torch.nan), torch.zeros(2)),
    )


def collect(batch: Rows, state=None, **options):
    part = HAPO(lambda policy, env, state, now: (batch, state), **options)
    return part(Nobody(), Nowhere(), state or {}, SimpleNamespace())


def test_a_length_is_compared_with_the_shortest_right_one_before():
    first, state = collect(rows([4, 6, 2], [1.0, 1.0, 0.0]))
    assert_close(first.rewards.values[:, 0], torch.zeros(3))  # nothing is known yet
    assert state["collect"]["shortest"].tolist() == [[4.0]]  # of the right ones
    again, state = collect(rows([2, 4, 6, 12, 2, 6, 12], [1.0] * 4 + [0.0] * 3), state)
    # over 4: cos(pi/4), 0, cos(3 pi/4) cut at -0.7, cos(pi) cut; wrong: cos(pi/4) cut at 0, cos(3 pi/4), -1
    assert_close(
        again.rewards.values[:, 0], torch.tensor([cos(pi / 4), 0.0, -0.7, -0.7, 0.0, cos(3 * pi / 4), -1.0]), atol=1e-6,
        rtol=0.0,
    )  # fmt: skip
    assert state["collect"]["shortest"].tolist() == [[2.0]]
    assert again.rewards.values[:, 1].tolist() == [1.0] * 4 + [0.0] * 3  # the other objective is untouched
    assert again.rewards.ideal[0] == 1.0 and again.rewards.nadir.tolist() == [-1.0, 0.0]


def test_the_formula_of_the_papers_code():
    def theirs(history, length, right):
        value = cos(length / history * pi / 2) if length < 2 * history else cos(pi)
        return max(-0.7, value) if right else min(0, value)

    _, state = collect(rows([5], [1.0]))
    lengths = list(range(1, 14))
    for right in (0.0, 1.0):
        got, _ = collect(rows(lengths, [right] * 13), state)
        assert_close(got.rewards.values[:, 0], torch.tensor([float(theirs(5, n, right)) for n in lengths]))


def test_each_member_and_each_problem_has_its_own_record():
    _, state = collect(rows([3, 5], [1.0, 1.0], member=[0, 1], problem=[2, 0]))
    inf = torch.inf
    assert state["collect"]["shortest"].tolist() == [[inf, inf, 3.0], [5.0, inf, inf]]
    got, state = collect(rows([3, 5, 3], [1.0, 1.0, 1.0], member=[0, 1, 1], problem=[3, 0, 2]), state)
    assert_close(got.rewards.values[:, 0], torch.zeros(3), atol=1e-6, rtol=0.0)  # new, as long as before, new
    assert state["collect"]["shortest"].tolist() == [[inf, inf, 3.0, 3.0], [5.0, inf, 3.0, inf]]
    assert gather_state(state, [1, 1])["collect"]["shortest"].tolist() == [[5.0, inf, 3.0, inf]] * 2


def test_what_is_not_known_to_be_right_has_no_length_reward_and_sets_no_record():
    got, state = collect(rows([3, 4], [1.0, 1.0], valid=[False, True]))
    assert got.rewards.valid[:, 0].tolist() == [False, True]
    assert state["collect"]["shortest"].tolist() == [[4.0]]


def test_a_replayed_step_gives_the_same_numbers_and_does_not_change_what_it_was_given():
    _, state = collect(rows([4], [1.0]))
    saved = {"collect": {"shortest": state["collect"]["shortest"].clone(), "iterate": 1}}
    one, after = collect(rows([2, 3], [1.0, 1.0]), saved)
    two, _ = collect(rows([2, 3], [1.0, 1.0]), saved)
    assert torch.equal(one.rewards.values, two.rewards.values)
    assert saved["collect"]["shortest"].tolist() == [[4.0]] and after["collect"]["iterate"] == 1


def test_refuses_what_cannot_be():
    with pytest.raises(ConfigError, match="`floor` must be from -1 to 0"):
        HAPO(floor=0.5)
    with pytest.raises(ConfigError, match="must be two objectives"):
        HAPO(length="correct")
    with pytest.raises(UnknownNameError, match="`HAPO` has no option `brief`"):
        collect(rows([1], [1.0]), length="brief")
    with pytest.raises(ConfigError, match="needs rewards"):
        collect(replace(rows([1], [1.0]), rewards=None))
    assert HAPO(length="brief").objectives == ("brief", "correct")
