"""Evaluating members: the same prompts for all, one completion each, whatever is beside them."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from moalign.errors import ConfigError
from moalign.evaluation import evaluate
from moalign.records import Need, Policy, Prompts, Requests, Rewards, Rows, Samples, Snapshot, Stream


@dataclass
class Dice(Policy):
    """Member k answers with one token: k + 10 * (a fair bit), the bit being 0 when greedy."""

    members: tuple[str, ...] = ("m00", "m01", "m02")
    provides: frozenset[Need] = frozenset()
    device: torch.device = torch.device("cpu")

    def sample(self, requests: Requests, *, stream: Stream, at: Snapshot | None = None) -> Samples:
        assert stream.purpose == "eval"
        token = torch.zeros(len(requests.member), dtype=torch.long)
        for k, name in enumerate(self.members):
            mine = requests.member == k
            bit = torch.rand(int(mine.sum()), generator=stream.generator(name)) < 0.5
            token[mine] = k + 10 * (bit & (requests.temperature[mine] > 0)).long()
        ones = torch.ones(len(token), 1)
        return Samples(token[:, None], ones.bool(), 0 * ones, ones[:, 0].bool())


@dataclass
class Sums:
    """Two objectives: the token plus the prompt's number, and, for even prompts only, the member."""

    names: tuple[str, ...] = ("sum", "member")

    def all(self, limit: int | None) -> Prompts:
        count = 10 if limit is None else min(limit, 10)
        tokens = torch.arange(100, 100 + count)
        return Prompts(
            tokens, tokens[:, None], torch.ones(count, 1, dtype=torch.bool), {"prompt": [str(i) for i in range(count)]}
        )

    def score(self, rows: Rows) -> Rows:
        prompt = rows.prompt_id - 100
        values = torch.stack([rows.tokens[:, 0] + prompt, rows.tokens[:, 0] % 10], dim=1).float()
        valid = torch.stack([torch.ones(len(rows)), 1 - prompt % 2], dim=1) > 0
        rewards = Rewards(values * valid, valid, self.names, torch.full((2,), torch.nan), torch.full((2,), torch.nan))
        return replace(
            rows, rewards=rewards, columns={**rows.columns, "completion": [f"<{t}>" for t in rows.tokens[:, 0]]}
        )


def run(policy: Dice | None = None, **changes: Any):
    options: dict[str, Any] = {
        "prompts": None,
        "temperature": 1.0,
        "max_new_tokens": 4,
        "seed": 0,
        "split": "dev",
        "batch": 4,
    }
    return evaluate(policy or Dice(), Sums(), **{**options, **changes})


def test_greedy_values():
    result = run(temperature=0.0)
    assert result.names == ("sum", "member") and result.members == ("m00", "m01", "m02")
    # prompts 0..9 have mean 4.5, and member k adds k
    assert result.values.tolist() == [[4.5, 0.0], [5.5, 1.0], [6.5, 2.0]]
    assert result.counts.tolist() == [[10, 5]] * 3
    assert result.prompts == 10 and result.temperature == 0.0 and result.split == "dev"


def test_limit_progress_and_chunks():
    seen = []
    result = run(prompts=6, temperature=0.0, on_progress=lambda done, total: seen.append((done, total)))
    assert result.prompts == 6 and seen == [(4, 6), (6, 6)]
    assert torch.equal(run(prompts=6, temperature=0.0, batch=99).scores, result.scores)


def test_samples_are_of_the_same_prompts_with_every_reward():
    result = run(temperature=0.0, batch=3)
    assert [s.prompt for s in result.samples[0]] == [s.prompt for s in result.samples[2]] == list("012345")
    assert result.samples[2][3].completion == "<2>"
    assert result.samples[2][3].rewards == {"sum": 5.0, "member": None}
    assert result.samples[2][4].rewards == {"sum": 6.0, "member": 2.0}


def test_seeded_and_split_apart():
    assert torch.equal(run().scores, run().scores)
    assert not torch.equal(run().scores, run(seed=1).scores)
    assert not torch.equal(run().scores, run(split="test").scores)
    assert not torch.equal(run().scores[:, :4], run().scores[:, 4:8] - 4)  # chunks draw anew


def test_a_member_is_worth_the_same_in_other_company():
    together, alone = run(), run(Dice(("m01",)))
    assert torch.equal(together.scores[1, :, 0] - 1, alone.scores[0, :, 0])  # it is member 0 there: one less


def test_bad_options():
    with pytest.raises(ConfigError, match="`split` is 'train'"):
        run(split="train")
    with pytest.raises(ConfigError, match="at least 1"):
        run(batch=0)


def test_members_may_differ_in_temperature() -> None:
    mixed = run(temperature=torch.tensor([0.0, 1.0, 0.0]))
    greedy, warm = run(temperature=0.0), run(temperature=1.0)
    assert torch.equal(mixed.scores[[0, 2]], greedy.scores[[0, 2]])
    assert torch.equal(mixed.scores[1], warm.scores[1]) and not torch.equal(warm.scores[1], greedy.scores[1])
    assert (mixed.temperature, greedy.temperature, warm.temperature) == (None, 0.0, 1.0)
    assert run(temperature=torch.full((3,), 0.5)).temperature == 0.5
