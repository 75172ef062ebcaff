"""Drawing further prompts, on a tabular policy whose completions are worth what their first token is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch.testing import assert_close

from moalign.policies import Tabular
from moalign.records import Environment, Examples, Metrics, Prompts, Rewards, Rows, Samples, Stream
from moalign.rollouts.collect import Sample
from moalign.rollouts.dynamic_sampling import DynamicSampling

COUNT, GROUP = 2, 16


@dataclass(frozen=True)
class Numbers(Environment):
    """Prompts 0 and 1, then 2 and 3, and so on; a reward is 1 where the first token is 2, the other where it is not."""

    names: tuple[str, ...] = ("correct", "other")
    step: int = 0
    drawn: list[int] = field(default_factory=list)

    def stream(self, purpose: str, round: int = 0) -> Stream:
        return Stream(0, self.step, purpose, round)

    def prompts(self, count: int, round: int = 0) -> Prompts:
        self.drawn.append(round)
        number = torch.arange(count) + round * count
        columns = {"prompt": [f"p{i}" for i in number.tolist()]}
        return Prompts(number, number[:, None], torch.ones(count, 1, dtype=torch.bool), columns)

    def score(self, rows: Rows) -> Rows:
        right = (rows.tokens[:, :1] == 2).float()
        values, nothing = torch.cat([right, 1 - right], 1), torch.full((2,), torch.nan)
        rewards = Rewards(values, torch.ones_like(values, dtype=torch.bool), self.names, nothing, nothing)
        return replace(rows, rewards=rewards)

    def examples(self, count: int, columns: Sequence[str]) -> Examples:
        raise AssertionError("nothing here takes completions from the data")

    def encode(self, completions: Sequence[str]) -> Samples:
        raise AssertionError("nothing here encodes text")

    def drain(self) -> Metrics:
        return {}


def policy(sure: list[list[int]]) -> Tabular:
    """Members always give the same answer to the prompts of which they are `sure`, and guess on the others."""
    made = Tabular(members=tuple(f"m{i}" for i in range(len(sure))), prompts=8, tokens=3, vocabulary=4, eos_id=1)
    logits = made.parameters()["logits"].tensor.detach()
    logits[:, :, 0, 2] = math.log(3)  # one of two answers is right
    for member, prompts in enumerate(sure):
        logits[member, prompts, 0, 2] = 50.0
    return made


def collect(part: DynamicSampling | Sample, env: Numbers, sure: list[list[int]], weights=(0.5, 0.5)) -> Rows:
    w = torch.tensor(weights).expand(len(sure), 1, 1, 2)
    weighting = SimpleNamespace(weigh=lambda state, rows: (w, torch.ones(len(sure))))
    settings: dict[str, Any] = {"prompts_per_step": COUNT, "num_generations": GROUP, "max_completion_length": 3}
    now = SimpleNamespace(weighting=weighting, temperature=1.0, **settings)
    rows, state = part(policy(sure), env, {"weighting": {}, "mark": 1}, now)
    assert state["mark"] == 1
    return rows


def kept(rows: Rows) -> list[list[int]]:
    """Return the prompts of which each member keeps its whole group."""
    whole = rows.keep.view(rows.members, -1, GROUP)
    assert (whole.all(2) == whole.any(2)).all()
    prompts = rows.prompt_id.view(whole.shape)[..., 0]
    return [prompts[m][whole[m].all(1)].tolist() for m in range(rows.members)]


def test_draws_until_every_member_has_enough() -> None:
    env = Numbers()
    # the first guesses everywhere; the second is sure of 0 and 1, so that another round is drawn, for both
    assert kept(collect(DynamicSampling(), env, [[], [0, 1]])) == [[0, 1], [2, 3]]
    assert env.drawn == [0, 1]


def test_counts_groups_and_not_rounds() -> None:
    env = Numbers()
    assert kept(collect(DynamicSampling(), env, [[0, 2, 3]])) == [[1, 4]]
    assert env.drawn == [0, 1, 2]


def test_one_round_is_enough_where_all_groups_vary() -> None:
    env = Numbers()
    rows, plain = collect(DynamicSampling(), env, [[], []]), collect(Sample(), Numbers(), [[], []])
    assert env.drawn == [0] and rows.keep.all()
    assert_close(rows.tokens, plain.tokens)


def test_ends_after_its_rounds() -> None:
    env = Numbers()
    assert kept(collect(DynamicSampling(rounds=2), env, [[0, 1, 2], [0, 1, 2, 3]])) == [[3], []]
    assert env.drawn == [0, 1]
    assert DynamicSampling().problems(None) == []
    assert DynamicSampling(rounds=0).problems(None) == ["`rounds` must be at least 1, got 0."]


def test_the_vector_decides_not_its_sum() -> None:
    """The two rewards add up to 1 whatever is answered: as a sum no group would ever vary."""
    env = Numbers()
    rows = collect(DynamicSampling(), env, [[]])
    assert rows.rewards is not None and (rows.rewards.values.sum(1) == 1).all()
    assert env.drawn == [0] and kept(rows) == [[0, 1]]
