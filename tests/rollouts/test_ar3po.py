"""Rounds of completions, on a tabular policy whose completions are worth what their first token is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from moalign.policies import Tabular
from moalign.records import Environment, Examples, Metrics, Prompts, Rewards, Rows, Samples, Stream
from moalign.rollouts.ar3po import AR3PO
from moalign.rollouts.collect import Sample
from moalign.rollouts.rounds import joined

MEMBERS, LONGEST, END = ("m0", "m1"), 4, 1


@dataclass(frozen=True)
class Numbers(Environment):
    """Prompts 0, 1, 2; the reward is 1 where the first token is `right`."""

    right: int = 2
    names: tuple[str, ...] = ("correct",)
    step: int = 0
    scored: list[int] = field(default_factory=list)

    def stream(self, purpose: str, round: int = 0) -> Stream:
        return Stream(0, self.step, purpose, round)

    def prompts(self, count: int, round: int = 0) -> Prompts:
        number = torch.arange(count)
        columns = {"prompt": [f"p{i}" for i in range(count)]}
        return Prompts(number + 100, number[:, None], torch.ones(count, 1, dtype=torch.bool), columns)

    def score(self, rows: Rows) -> Rows:
        assert set(rows.columns) == {"prompt", "finished"}  # what rewards are given is the same in every round
        self.scored.append(len(rows))
        values = (rows.tokens[:, :1] == self.right).float()
        nothing = torch.full((1,), torch.nan)
        rewards = Rewards(values, torch.ones_like(values, dtype=torch.bool), self.names, nothing, nothing)
        completions = [str(line.tolist()) for line in rows.tokens]
        return replace(rows, rewards=rewards, columns={**rows.columns, "completion": completions})

    def examples(self, count: int, columns: Sequence[str]) -> Examples:
        raise AssertionError("nothing here takes completions from the data")

    def encode(self, completions: Sequence[str]) -> Samples:
        raise AssertionError("nothing here encodes text")

    def drain(self) -> Metrics:
        return {}


class One:
    def weigh(self, state: Any, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones(2, 1, 1, 1), torch.ones(2)


def policy() -> Tabular:
    """Member 0 always solves prompt 0 and never prompt 1, member 1 the other way round; on prompt 2 both guess."""
    made = Tabular(members=MEMBERS, prompts=3, tokens=LONGEST, vocabulary=6, eos_id=END)
    logits = made.parameters()["logits"].tensor.detach()
    logits[0, 0, 0, 2] = logits[1, 1, 0, 2] = 50.0
    logits[0, 1, 0, 2] = logits[1, 0, 0, 2] = -50.0
    return made


def now(**changes: Any) -> SimpleNamespace:
    settings = {"prompts_per_step": 3, "num_generations": 4, "max_completion_length": LONGEST, "temperature": 1.0}
    return SimpleNamespace(**settings | {"weighting": One()} | changes)


def collect(part: AR3PO | Sample, env: Numbers, **changes: Any) -> Rows:
    rows, state = part(policy(), env, {"weighting": {}, "mark": 1}, now(**changes))
    assert state["mark"] == 1
    return rows


def test_asks_again_what_is_unsolved() -> None:
    env = Numbers()
    rows = collect(AR3PO(), env)
    counts = torch.zeros(2, 3, dtype=torch.long).index_put((rows.member, rows.group), torch.tensor(1), accumulate=True)
    # two rounds of two: solved at once, never solved; on prompt 2 as the first two completions have it
    assert counts[:, :2].tolist() == [[2, 4], [4, 2]]
    assert rows.rewards is not None
    reward, mask = rows.grid(rows.rewards.values[:, 0])
    guessed = (reward[:, 2, :2] == 1).any(dim=1)
    assert counts[:, 2].tolist() == torch.where(guessed, 2, 4).tolist()
    assert mask.sum(dim=2).tolist() == counts.tolist()
    assert env.scored == [12, len(rows) - 12]  # every completion is scored once


def test_rows_stand_in_order_and_belong_together() -> None:
    rows, first = collect(AR3PO(), Numbers()), collect(Sample(), Numbers(), num_generations=2)
    key = rows.member * 3 + rows.group
    assert key.tolist() == sorted(key.tolist()) and rows.index.tolist() == list(range(len(rows)))
    assert rows.prompt_id.tolist() == [100 + g for g in rows.group.tolist()]
    assert rows.columns["prompt"] == [f"p{g}" for g in rows.group.tolist()]
    assert rows.prompt_tokens[:, -1].tolist() == rows.group.tolist()
    for line, text in zip(rows.tokens, rows.columns["completion"]):  # as wide as its round was
        assert str(line.tolist()).startswith(text[:-1])
    slot = rows.slots()[0]
    width = first.tokens.shape[1]
    assert torch.equal(rows.tokens[slot < 2][:, :width], first.tokens)  # the first round is what was there
    assert rows.behaviour_logprobs is not None
    assert_close(rows.behaviour_logprobs, policy().forward(rows, frozenset()).logprobs.detach())
    assert not torch.equal(rows.tokens[(slot < 2) & (key == 1)], rows.tokens[(slot >= 2) & (key == 1)])  # new numbers


def test_one_round_is_plain_sampling() -> None:
    ours, plain = collect(AR3PO(rounds=1), Numbers()), collect(Sample(), Numbers())
    assert torch.equal(ours.tokens, plain.tokens) and ours.columns == plain.columns


def test_what_is_solved_stops_and_what_never_is_takes_all_rounds() -> None:
    assert len(collect(AR3PO(rounds=4, solved=0.0), Numbers())) == 6  # one completion each is enough
    assert len(collect(AR3PO(rounds=4), Numbers(right=99))) == 24  # as many as plain sampling


def test_a_members_completions_do_not_depend_on_its_company() -> None:
    both = collect(AR3PO(), Numbers())
    alone = Tabular(members=MEMBERS[1:], prompts=3, tokens=LONGEST, vocabulary=6, eos_id=END)
    alone.parameters()["logits"].tensor.detach()[:] = policy().parameters()["logits"].tensor.detach()[1:]
    settings = now(weighting=SimpleNamespace(weigh=lambda state, rows: (torch.ones(1, 1, 1, 1), torch.ones(1))))
    rows, _ = AR3PO()(alone, Numbers(), {"weighting": {}}, settings)
    width = rows.tokens.shape[1]
    assert torch.equal(both.tokens[both.member == 1][:, :width], rows.tokens)


def test_a_column_of_one_round_is_none_in_the_other() -> None:
    rows = collect(Sample(), Numbers(), num_generations=1)
    more = replace(rows, columns={**rows.columns, "note": list("abcdef")})
    assert joined(rows, more).columns["note"] == [x for letter in "abcdef" for x in (None, letter)]


@pytest.mark.parametrize("rounds", [0, 3])
def test_rounds_share_the_budget_evenly(rounds: int) -> None:
    assert "must divide" in AR3PO(rounds=rounds).problems(now())[0]
    assert AR3PO().problems(now()) == []
