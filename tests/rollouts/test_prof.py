"""A filter by process and outcome, on rows made by hand."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from moalign.errors import ConfigError
from moalign.records import Environment, Policy, Rewards, Rows
from moalign.rollouts import PROF


class Nobody(Policy):
    """The filter reads neither policy nor environment: the wrapped collector does."""


class Nowhere(Environment):
    pass


def rows(right, process, *, groups=1, valid=None, keep=None) -> Rows:
    n = len(right)
    ones = torch.ones(n, 1, dtype=torch.long)
    there = torch.tensor(valid or [True] * n)[:, None]
    nothing = torch.zeros(1)
    return Rows(
        members=1,
        member=torch.zeros(n, dtype=torch.long),
        prompt_id=torch.zeros(n, dtype=torch.long),
        group=torch.arange(groups).repeat_interleave(n // groups),
        prompt_tokens=ones,
        prompt_mask=ones.bool(),
        tokens=ones,
        completion_mask=ones.bool(),
        train_mask=ones.bool(),
        keep=torch.tensor(keep or [True] * n),
        temperature=torch.ones(n),
        index=torch.arange(n),
        rewards=Rewards(torch.tensor(right)[:, None], there, ("correct",), nothing, nothing),
        columns={"process": process},
    )


def kept(batch: Rows, **options) -> list[int]:
    part = PROF(lambda policy, env, state, now: (batch, state), **options)
    out, _ = part(Nobody(), Nowhere(), {}, SimpleNamespace())
    return out.keep.nonzero().flatten().tolist()


def test_keeps_what_process_and_outcome_agree_on():
    # right: scores .9 .2 .5 .7, the two largest; wrong: .1 .8 .3 .6, the two smallest
    right = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert kept(rows(right, [0.9, 0.1, 0.2, 0.8, 0.5, 0.3, 0.7, 0.6])) == [0, 1, 5, 6]


def test_takes_more_of_one_kind_where_the_other_is_rare():
    batch = rows([1.0] * 5 + [0.0], [0.1, 0.2, 0.3, 0.4, 0.5, 0.9])
    assert kept(batch) == [2, 3, 4, 5]
    assert kept(batch, retain=2) == [4, 5]
    assert kept(batch, retain=1) == [4]  # the odd one is right
    assert kept(rows([0.0] * 3, [0.1, 0.2, 0.3]), retain=2) == [0, 1]


def test_groups_are_filtered_one_by_one():
    assert kept(rows([1.0, 1.0, 0.0, 0.0], [0.1, 0.2, 0.4, 0.3], groups=2), retain=1) == [1, 3]


def test_what_lacks_a_score_goes_first_and_what_lacks_an_outcome_goes():
    assert kept(rows([1.0, 1.0, 0.0, 0.0], [None, 0.1, None, 0.9]), retain=2) == [1, 3]
    assert kept(rows([1.0, 1.0], [0.9, 0.1], valid=[False, True]), retain=2) == [1]
    assert kept(rows([1.0, 1.0], [0.9, 0.1], keep=[False, True]), retain=2) == [1]


def twin(right, process, retain):
    good = sorted((i for i, r in enumerate(right) if r), key=lambda i: -process[i])
    bad = sorted((i for i, r in enumerate(right) if not r), key=lambda i: process[i])
    while len(good) + len(bad) > retain:  # take the worst of the larger side; of equal sides, of the wrong ones
        (good if len(good) > len(bad) else bad).pop()
    return sorted(good + bad)


def test_agrees_with_taking_away_one_at_a_time():
    draw = random.Random(0)
    for _ in range(50):
        n, retain = draw.randint(1, 8), draw.randint(1, 6)
        right, process = [float(draw.random() < 0.5) for _ in range(n)], [draw.random() for _ in range(n)]
        assert kept(rows(right, process), retain=retain) == twin(right, process, retain)


def test_refuses_what_cannot_be():
    with pytest.raises(ConfigError, match="`retain` must be at least 1"):
        PROF(retain=0)
    with pytest.raises(ConfigError, match=r"wrap the process reward in `rewards.Logged\(reward, 'steps'\)`"):
        kept(rows([1.0], [0.5]), process="steps")
    with pytest.raises(ConfigError, match="needs rewards"):
        kept(replace(rows([1.0], [0.5]), rewards=None))
