"""A budget of completions, on a tabular policy whose completions are worth what their first token is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError, UnknownNameError
from moalign.policies import Tabular
from moalign.records import Environment, Examples, Metrics, Prompts, Requests, Rewards, Rows, Samples, Snapshot, Stream
from moalign.rollouts.collect import Sample
from moalign.rollouts.knapsack import Knapsack, worth

MEMBERS, LENGTH, RIGHT = ("m0", "m1"), 3, 2


@dataclass(frozen=True)
class Numbers(Environment):
    """`correct` is 1 where the first token is right; `other` is always 0."""

    rewarded: bool = True
    names: tuple[str, ...] = ("correct", "other")
    step: int = 0
    scored: list[int] = field(default_factory=list)

    def stream(self, purpose: str, round: int = 0) -> Stream:
        return Stream(0, self.step, purpose, round)

    def prompts(self, count: int, round: int = 0) -> Prompts:
        number = torch.arange(count)
        columns = {"prompt": [f"p{i}" for i in range(count)]}
        return Prompts(number + 100, number[:, None], torch.ones(count, 1, dtype=torch.bool), columns)

    def score(self, rows: Rows) -> Rows:
        self.scored.append(len(rows))
        values = torch.stack([(rows.tokens[:, 0] == RIGHT).float(), torch.zeros(len(rows))], dim=1)
        nothing = torch.full((2,), torch.nan)
        rewards = Rewards(values, torch.ones_like(values, dtype=torch.bool), self.names, nothing, nothing)
        return replace(rows, rewards=rewards) if self.rewarded else rows

    def examples(self, count: int, columns: Sequence[str]) -> Examples:
        raise AssertionError("nothing here takes completions from the data")

    def encode(self, completions: Sequence[str]) -> Samples:
        raise AssertionError("nothing here encodes text")

    def decode(self, tokens: list[list[int]]) -> list[str]:
        raise AssertionError("nothing here reads text")

    def drain(self) -> Metrics:
        return {}


class Asked(Tabular):
    """Member 0 always solves prompt 0 and never prompt 1, member 1 the other way round; other prompts are guessed."""

    def __init__(self, members: Sequence[str] = MEMBERS, prompts: int = 2):
        super().__init__(members=members, prompts=prompts, tokens=LENGTH, vocabulary=4)
        logits = self.parameters()["logits"].tensor.detach()
        for k, name in enumerate(members):
            solved = MEMBERS.index(name)
            logits[k, solved, 0, RIGHT], logits[k, 1 - solved, 0, RIGHT] = 50.0, -50.0
        self.asked: list[Requests] = []

    def sample(self, requests: Requests, *, stream: Stream, at: Snapshot | None = None) -> Samples:
        self.asked.append(requests)
        return super().sample(requests, stream=stream, at=at)


def now(weights: Sequence[float] = (1.0, 0.0), **changes: Any) -> SimpleNamespace:
    given = torch.tensor(weights).expand(1, 1, 1, 2)
    weighting = SimpleNamespace(weigh=lambda state, rows: (given.expand(rows.members, -1, -1, -1), torch.ones(1)))
    settings = {"prompts_per_step": 2, "num_generations": 10, "max_completion_length": LENGTH, "temperature": 1.0}
    return SimpleNamespace(**settings | {"weighting": weighting} | changes)


def collect(part: Any, *, policy: Asked | None = None, env: Numbers | None = None, **changes: Any) -> Rows:
    policy = policy or Asked(prompts=changes.get("prompts_per_step", 2))
    rows, state = part(policy, env or Numbers(), {"weighting": {}, "mark": 1}, now(**changes))
    assert state["mark"] == 1
    return rows


def sizes(rows: Rows) -> list[list[int]]:
    return rows.grid(rows.temperature)[1].sum(dim=2).tolist()


def test_worth_by_hand() -> None:
    p = torch.tensor([[0.5], [0.25]], dtype=torch.float64)
    # (1 - 1/4 - 1/4) · 1/8, (1 - 1/8 - 1/8) · 1/8; (1 - 1/16 - 9/16) · 9/64, (1 - 1/64 - 27/64) · 9/64
    expected = torch.tensor([[1 / 16, 3 / 32], [27 / 512, 81 / 1024]], dtype=torch.float64)
    assert_close(worth(p, torch.tensor([2, 3])), expected)
    assert worth(p, torch.tensor([1])).tolist() == [[0.0], [0.0]]  # one completion is never both


def test_spends_where_it_pays() -> None:
    # Four of four solved is p = 5/6, none 1/6. The completion after the N-th adds p(1-p)² (p^N (1-p) + (1-p)^N p):
    # in units of 1e-3 from N = 4 on 9.38 7.76 6.46 5.39 4.49 3.74 3.12 2.60 2.16 1.80 1.50 to the unsolved prompt and
    # 1.87 1.55 1.29 to the solved one. The twelve largest of them are ten and two.
    policy, env = Asked(), Numbers()
    rows = collect(Knapsack(), policy=policy, env=env)
    assert sizes(rows) == [[6, 14], [14, 6]]
    assert env.scored == [16, 24]  # every completion is scored once
    second = policy.asked[1]
    assert (second.n, len(second.member)) == (2, 12)  # two at a time, the most that 2 and 10 have in common


def test_every_member_spends_the_same_budget() -> None:
    rows, first = collect(Knapsack(), prompts_per_step=6), collect(Sample(), prompts_per_step=6, num_generations=4)
    found = torch.tensor(sizes(rows))
    assert found.sum(dim=1).tolist() == [60, 60] and int(found.min()) >= 4 and len(set(found.flatten().tolist())) > 2
    key = rows.member * 6 + rows.group
    assert key.tolist() == sorted(key.tolist()) and rows.index.tolist() == list(range(120))
    assert rows.columns["prompt"] == [f"p{g}" for g in rows.group.tolist()]
    assert rows.prompt_tokens[:, 0].tolist() == rows.group.tolist()
    assert torch.equal(rows.tokens[rows.slots()[0] < 4], first.tokens)  # the first round counts in the group
    assert rows.behaviour_logprobs is not None
    assert_close(rows.behaviour_logprobs, Asked(prompts=6).forward(rows, frozenset()).logprobs.detach())


def test_a_members_completions_do_not_depend_on_its_company() -> None:
    both = collect(Knapsack(), prompts_per_step=5)
    alone = collect(Knapsack(), prompts_per_step=5, policy=Asked(MEMBERS[1:], prompts=5))
    assert torch.equal(both.tokens[both.member == 1], alone.tokens)


def test_nothing_left_is_plain_sampling() -> None:
    ours, plain = collect(Knapsack(first=10)), collect(Sample())
    assert torch.equal(ours.tokens, plain.tokens) and ours.columns == plain.columns


def test_no_group_is_larger_than_most() -> None:
    assert sizes(collect(Knapsack(most=12))) == [[8, 12], [12, 8]]
    assert sizes(collect(Knapsack(most=10))) == [[10, 10], [10, 10]]


def test_what_solves_is_a_weighted_sum_or_one_objective() -> None:
    assert sizes(collect(Knapsack(), weights=(0.5, 0.5))) == [[10, 10], [10, 10]]  # 0.5 at best: nothing is solved
    for part in (Knapsack(solved=0.5), Knapsack(objective="correct")):
        assert sizes(collect(part, weights=(0.5, 0.5))) == [[6, 14], [14, 6]]
    assert Knapsack(objective="correct").objectives == ("correct",) and Knapsack().objectives == ()
    with pytest.raises(UnknownNameError, match="corect"):
        collect(Knapsack(objective="corect"))
    with pytest.raises(ConfigError, match="this environment gives none"):
        collect(Knapsack(), env=Numbers(rewarded=False))


@pytest.mark.parametrize("part", [Knapsack(first=0), Knapsack(first=11), Knapsack(most=9)], ids=str)
def test_the_budget_must_fit(part: Knapsack) -> None:
    assert "`num_generations` is 10; it must be" in part.problems(now())[0]
    assert Knapsack().problems(now()) == []
