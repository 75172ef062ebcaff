from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
import torch

from moalign.errors import ConfigError
from moalign.records import Environment, Policy, Rewards, Rows
from moalign.rollouts.collect import Sample
from moalign.rollouts.scored_segments import ScoredSegments

NAN = float("nan")


class Nobody(Policy):
    """Nothing is sampled: the wrapped collector is a stand-in."""


@dataclass(frozen=True)
class Sums(Environment):
    """The rewards are the sum of the tokens and, where there are two, the second of them."""

    asked: list[list[list[int]]] = field(default_factory=list)

    def score(self, rows: Rows) -> Rows:
        assert "completion" not in rows.columns and "prompt" in rows.columns
        lines = [[t for t, m in zip(*line) if m] for line in zip(rows.tokens.tolist(), rows.completion_mask.tolist())]
        self.asked.append([line for line, kept in zip(lines, rows.keep.tolist()) if kept])
        values = torch.tensor([[float(sum(line)), float(line[1]) if len(line) > 1 else NAN] for line in lines])
        valid = ~values.isnan() & rows.keep[:, None]
        nothing = torch.full((2,), NAN)
        rewards = Rewards(torch.where(valid, values, 0), valid, ("sum", "second"), nothing, nothing)
        return replace(rows, rewards=rewards, columns={**rows.columns, "completion": ["…"] * len(rows)})


@dataclass(frozen=True)
class Cut:
    """Rows of two completions whose segments are 0 0 1, and 0 0 0 with one token after the end."""

    segment_names: tuple[str, ...] = ("before", "after")
    cut: bool = True

    def __call__(self, policy, env, state, now) -> tuple[Rows, dict]:
        tokens = torch.tensor([[1, 2, 4], [8, 16, 32]])
        mask = torch.tensor([[True, True, True], [True, True, False]])
        one, numbers = torch.zeros(2, dtype=torch.long), torch.arange(2)
        rows = Rows(1, one, numbers, one, tokens, mask, tokens, mask, mask, mask.any(1), torch.ones(2), numbers,
                    columns={"prompt": ["p", "p"], "completion": ["…", "…"]})  # fmt: skip
        segments = torch.tensor([[0, 0, 1], [0, 0, 0]]) if self.cut else None
        return replace(rows, segments=segments, segment_names=self.segment_names if self.cut else ()), state


def collect(text: str, **changes) -> tuple[torch.Tensor, Sums]:
    env = Sums()
    rows, state = ScoredSegments(Cut(**changes), text)(Nobody(), env, {"mark": 1}, None)
    assert state == {"mark": 1} and rows.segment_rewards is not None and rows.columns["completion"] == ["…", "…"]
    return rows.segment_rewards, env


def same(a: torch.Tensor, b: list) -> bool:
    return torch.equal(a.nan_to_num(-1.0), torch.tensor(b).nan_to_num(-1.0))


def test_every_segment_has_its_rewards() -> None:
    rewards, env = collect("alone")
    assert env.asked == [[[1, 2], [8, 16]], [[4]]]  # the second completion has no second segment
    assert same(rewards, [[[3.0, 2.0], [4.0, NAN]], [[24.0, 16.0], [NAN, NAN]]])


def test_a_prefix_is_all_up_to_a_segments_end() -> None:
    rewards, env = collect("prefix")
    assert env.asked == [[[1, 2], [8, 16]], [[1, 2, 4]]]
    assert same(rewards, [[[3.0, 2.0], [7.0, 2.0]], [[24.0, 16.0], [NAN, NAN]]])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="`text` must be one of alone, prefix, got 'all'"):
        ScoredSegments(text="all")
    with pytest.raises(ConfigError, match="let `inner` cut them"):
        collect("alone", cut=False)
    recipe = SimpleNamespace(num_generations=4)
    assert ScoredSegments().problems(recipe) == [] and ScoredSegments().columns == ()
    assert "an `inner` that cuts segments" in ScoredSegments(Sample()).problems(recipe)[0]
