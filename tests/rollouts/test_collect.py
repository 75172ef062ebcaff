"""Where rows come from, on a tabular policy and prompts that are numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch.testing import assert_close

from moalign.policies import Tabular
from moalign.records import Environment, Examples, Metrics, Prompts, Rewards, Rows, Samples, Stream
from moalign.rollouts.collect import Pairs, Sample, Supervised, ask
from moalign.rollouts.scored_pairs import ScoredPairs

MEMBERS, LONGEST, END = ("m0", "m1"), 5, 1


@dataclass(frozen=True)
class Numbers(Environment):
    """Prompts 0, 1, 2; a text is a list of token numbers; a completion is worth its length."""

    names: tuple[str, ...] = ("length",)
    step: int = 0

    def stream(self, purpose: str, round: int = 0) -> Stream:
        return Stream(0, self.step, purpose, round)

    def prompts(self, count: int, round: int = 0) -> Prompts:
        number = torch.arange(count)
        columns = {"prompt": [f"p{i}" for i in range(count)], "answer": [10 * i for i in range(count)]}
        return Prompts(number + 100, number[:, None], torch.ones(count, 1, dtype=torch.bool), columns)

    def examples(self, count: int, columns: Sequence[str]) -> Examples:
        answers = [["2 3 1", "4 1"], ["5 1", "2 2 2 2 1"], ["3 1", "1"]]
        return Examples(self.prompts(count), [texts[: len(columns)] for texts in answers[:count]])

    def encode(self, completions: Sequence[str]) -> Samples:
        lists = [[int(word) for word in text.split()] for text in completions]
        tokens = torch.tensor([ids + [0] * (7 - len(ids)) for ids in lists])
        mask = torch.arange(7) < torch.tensor([[len(ids)] for ids in lists])
        return Samples(tokens, mask, torch.zeros(tokens.shape), torch.ones(len(lists), dtype=torch.bool))

    def score(self, rows: Rows) -> Rows:
        values = rows.completion_mask.sum(dim=1, keepdim=True).float()
        nothing = torch.full((1,), torch.nan)
        return replace(rows, rewards=Rewards(values, values > 0, self.names, nothing, nothing))

    def drain(self) -> Metrics:
        return {}


def policy(eos_id: int | None = END) -> Tabular:
    return Tabular(members=MEMBERS, prompts=3, tokens=LONGEST, vocabulary=6, eos_id=eos_id)


def now(**changes: Any) -> SimpleNamespace:
    settings = {"prompts_per_step": 3, "num_generations": 4, "max_completion_length": LONGEST, "temperature": 1.0}
    return SimpleNamespace(**settings | changes)


def test_sample_asks_every_member_every_prompt() -> None:
    rows, state = Sample()(policy(), Numbers(), {"mine": 1}, now())
    assert state == {"mine": 1} and len(rows) == 2 * 3 * 4 and rows.members == 2
    # member-major, then prompt-major, four completions each
    assert rows.member.tolist() == [0] * 12 + [1] * 12
    assert rows.group.tolist() == ([0] * 4 + [1] * 4 + [2] * 4) * 2
    assert rows.prompt_id.tolist() == [100 + g for g in rows.group.tolist()]
    assert rows.columns["prompt"] == [f"p{g}" for g in rows.group.tolist()]
    assert rows.columns["answer"] == [10 * g for g in rows.group.tolist()]
    assert rows.prompt_tokens[:, -1].tolist() == rows.group.tolist()
    assert rows.index.tolist() == list(range(24)) and rows.keep.all()
    assert rows.rewards is not None
    assert rows.rewards.values[:, 0].tolist() == rows.completion_mask.sum(dim=1).tolist()
    # on a fresh batch the engine's log-probabilities are the policy's
    assert rows.behaviour_logprobs is not None
    assert_close(rows.behaviour_logprobs, policy().forward(rows, frozenset()).logprobs.detach())
    # completions end at the end token, and nothing is wider than the longest
    assert rows.tokens.shape[1] == rows.completion_mask.sum(dim=1).max()
    ended = torch.tensor(rows.columns["finished"])
    assert 0 < ended.sum() < 24
    last = rows.tokens.gather(1, rows.completion_mask.sum(dim=1, keepdim=True) - 1)[:, 0]
    assert ((last == END) == ended).all()


def test_truncated_completions_keep_their_reward_and_train_nothing() -> None:
    plain, _ = Sample()(policy(), Numbers(), {}, now())
    masked, _ = Sample(mask_truncated=True)(policy(), Numbers(), {}, now())
    ended = torch.tensor(masked.columns["finished"])
    assert torch.equal(plain.tokens, masked.tokens) and plain.train_mask.any(dim=1).all()
    assert torch.equal(masked.train_mask.any(dim=1), ended)
    assert torch.equal(masked.completion_mask, plain.completion_mask) and masked.keep.all()
    assert masked.rewards is not None and (masked.rewards.values > 0).all()


def test_length_and_temperature_are_the_recipes() -> None:
    rows, _ = Sample()(policy(None), Numbers(), {}, now(max_completion_length=2, temperature=torch.tensor([1.0, 0.5])))
    assert rows.tokens.shape[1] == 2
    assert rows.temperature.tolist() == [1.0] * 12 + [0.5] * 12


def test_the_steps_stream_decides_what_is_sampled() -> None:
    one, _ = Sample()(policy(), Numbers(), {}, now())
    again, _ = Sample()(policy(), Numbers(), {}, now())
    later, _ = Sample()(policy(), Numbers(step=1), {}, now())
    assert torch.equal(one.tokens, again.tokens)
    assert one.tokens.shape != later.tokens.shape or not torch.equal(one.tokens, later.tokens)


def test_a_second_rounds_groups_follow_the_firsts() -> None:
    env = Numbers()
    rows = ask(
        policy(), env.prompts(2), stream=env.stream("rollout", 1), n=2, max_new_tokens=3, temperature=1.0, start=3
    )
    assert rows.group.tolist() == [3, 3, 4, 4] * 2


def test_pairs_are_groups_of_two() -> None:
    rows, _ = Pairs()(policy(), Numbers(), {}, now())
    assert len(rows) == 2 * 3 * 2 and rows.rewards is None and rows.behaviour_logprobs is None
    grid, there = rows.grid(rows.completion_mask.sum(dim=1).float())
    # chosen first: lengths of "2 3 1" and "4 1", ... ; the same for both members
    assert grid[0].tolist() == [[3, 2], [2, 5], [2, 1]] and torch.equal(grid[0], grid[1]) and there.all()
    assert rows.columns["completion"][:4] == ["2 3 1", "4 1", "5 1", "2 2 2 2 1"]
    assert rows.columns["prompt"][:4] == ["p0", "p0", "p1", "p1"]
    assert rows.tokens[0].tolist() == [2, 3, 1, 0, 0]
    assert (rows.temperature == 1.0).all()


def test_examples_are_groups_of_one() -> None:
    rows, _ = Supervised()(policy(), Numbers(), {}, now(prompts_per_step=2))
    assert rows.member.tolist() == [0, 0, 1, 1] and rows.group.tolist() == [0, 1, 0, 1]
    assert rows.columns["completion"] == ["2 3 1", "5 1"] * 2
    assert rows.tokens.shape == (4, 3) and torch.equal(rows.train_mask, rows.completion_mask)


def test_given_completions_are_cut_at_the_longest() -> None:
    rows, _ = Pairs()(policy(), Numbers(), {}, now(max_completion_length=2))
    assert rows.tokens.shape[1] == 2 and rows.completion_mask.sum(dim=1).tolist()[:4] == [2, 2, 2, 2]


def test_scored_pairs_are_pairs_with_rewards() -> None:
    pairs, _ = Pairs()(policy(), Numbers(), {}, now())
    rows, state = ScoredPairs()(policy(), Numbers(), {"mine": 1}, now())
    assert state == {"mine": 1} and torch.equal(rows.tokens, pairs.tokens) and torch.equal(rows.group, pairs.group)
    # lengths of "2 3 1" "4 1" | "5 1" "2 2 2 2 1" | "3 1" "1", for each of two members
    assert pairs.rewards is None and rows.rewards is not None
    assert rows.rewards.values[:, 0].tolist() == [3, 2, 2, 5, 2, 1] * 2
