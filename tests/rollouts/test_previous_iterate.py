"""The previous iterate on a tabular policy, whose probabilities are known."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from moalign import recipes
from moalign.errors import ConfigError
from moalign.policies import Tabular
from moalign.records import Couples, Environment, Prompts, Rewards, Rows, Stream
from moalign.rollouts.best_worst import BestWorst
from moalign.rollouts.collect import Sample
from moalign.rollouts.previous_iterate import PreviousIterate
from moalign.training.gather import clone, gather_state

WORDS = 3


@dataclass(frozen=True)
class World(Environment):
    """Prompts 0 and 1; a completion is worth its first word."""

    step: int = 0
    names: tuple[str, ...] = ("word",)

    def stream(self, purpose: str, round: int = 0) -> Stream:
        return Stream(0, self.step, purpose, round)

    def prompts(self, count: int, round: int = 0) -> Prompts:
        number = torch.arange(count) % 2
        return Prompts(number, number[:, None], torch.ones(count, 1, dtype=torch.bool), {"prompt": ["x"] * count})

    def score(self, rows: Rows) -> Rows:
        values, nothing = rows.tokens[:, :1].float(), torch.full((1,), torch.nan)
        return replace(rows, rewards=Rewards(values, values >= 0, self.names, nothing, nothing))


class Even:
    def weigh(self, state, rows):
        return torch.ones(rows.members, 1, 1, 1), torch.ones(rows.members)


NOW = SimpleNamespace(
    prompts_per_step=2, num_generations=8, max_completion_length=2, temperature=1.0, couples=Couples.ROWS,
    weighting=Even(),
)  # fmt: skip


def policy(members: tuple[str, ...] = ("m0", "m1")) -> Tabular:
    return Tabular(members=members, prompts=2, tokens=2, vocabulary=WORDS)


def say(policy: Tabular, words: list[int]) -> None:
    """Let each member say one word, almost surely."""
    logits = policy.parameters()["logits"].tensor
    with torch.no_grad():
        for k, word in enumerate(words):
            logits[k] = 0.0
            logits[k, ..., word] = 20.0


def said(rows: Rows) -> list[set[int]]:
    return [set(rows.tokens[rows.member == k].flatten().tolist()) for k in range(rows.members)]


def test_the_iterate_answers_and_its_logprobs_are_on_the_rows() -> None:
    part, p = PreviousIterate(iterate_every=2), policy()
    say(p, [0, 1])
    rows, state = part(p, World(0), {"weighting": {}}, NOW)
    assert said(rows) == [{0}, {1}] and rows.previous_logprobs is not None
    assert_close(rows.previous_logprobs, p.forward(rows, frozenset()).logprobs.detach())
    # trained since: at step 1 the members of step 0 still answer, and the policy is as it was found
    say(p, [2, 2])
    rows, state = part(p, World(1), state, NOW)
    assert said(rows) == [{0}, {1}]
    trained = torch.zeros(WORDS)
    trained[2] = 20.0
    assert torch.equal(p.parameters()["logits"].tensor.detach(), trained.expand(2, 2, 2, WORDS))
    # log(e^20 / (e^20 + 2)) for the iterate, about -20 for the member now
    assert_close(rows.previous_logprobs, torch.full_like(rows.previous_logprobs, -4.12e-9), atol=1e-7, rtol=0)
    assert (p.forward(rows, frozenset()).logprobs < -19).all()
    # step 2 replaces it
    rows, state = part(p, World(2), state, NOW)
    assert said(rows) == [{2}, {2}] and torch.equal(state["collect"]["iterate"]["logits"], trained.expand(2, 2, 2, 3))


def test_replaced_at_every_step_it_is_the_policy() -> None:
    part, p, state = PreviousIterate(), policy(), {"weighting": {}}
    for step in range(3):
        say(p, [step, step])
        rows, state = part(p, World(step), state, NOW)
        assert said(rows) == [{step}, {step}]
        plain, _ = Sample()(p, World(step), {}, NOW)
        assert torch.equal(rows.tokens, plain.tokens)


def test_only_kept_rows_have_log_probabilities() -> None:
    rows, _ = PreviousIterate(inner=BestWorst())(policy(), World(0), {"weighting": {}}, NOW)
    assert rows.previous_logprobs is not None and 0 < rows.keep.sum() < len(rows)
    assert_close(rows.previous_logprobs, rows.keep[:, None] * torch.full((1, 2), 1 / WORDS).log())  # uniform


def test_it_is_kept_in_the_state_apart_from_the_policy() -> None:
    p, other = policy(), {"mark": torch.ones(2)}
    say(p, [0, 1])
    before = {"weighting": {}, "collect": other}
    _, state = PreviousIterate(iterate_every=9)(p, World(0), before, NOW)
    kept = state["collect"]["iterate"]["logits"].clone()
    say(p, [2, 2])
    assert torch.equal(state["collect"]["iterate"]["logits"], kept) and state["collect"]["mark"] is other["mark"]
    assert before == {"weighting": {}, "collect": {"mark": other["mark"]}}  # what went in is as it was
    # a run taken up in the middle, with its state: the iterate is not replaced before its time
    rows, again = PreviousIterate(iterate_every=9)(p, World(4), state, NOW)
    assert said(rows) == [{0}, {1}] and torch.equal(again["collect"]["iterate"]["logits"], kept)


def test_a_clone_has_its_parents_iterate_and_a_dropped_member_takes_its_own_along() -> None:
    p, part = policy(("m0", "m1", "m2")), PreviousIterate(iterate_every=9)
    say(p, [0, 1, 2])
    _, state = part(p, World(0), {"weighting": {}, "breed": {}}, NOW)
    say(p, [2, 2, 0])
    bred, state, _ = clone(p, state, [1], step=0)
    assert bred.members == ("m0", "m1", "m2", "m1.1")
    rows, state = part(bred, World(1), state, NOW)
    assert said(rows) == [{0}, {1}, {2}, {1}]
    # the last two, turned round
    bred.gather([3, 2], ["m1.1", "m2"])
    rows, _ = part(bred, World(2), gather_state(state, [3, 2]), NOW)
    assert said(rows) == [{1}, {2}]


def test_an_error_leaves_the_policy_as_it_was() -> None:
    def fails(policy, env, state, now):
        assert policy.parameters()["logits"].tensor.argmax(dim=3).flatten(1)[:, 0].tolist() == [0, 1]
        raise RuntimeError("no answer")

    p, part = policy(), PreviousIterate(inner=fails, iterate_every=9)
    say(p, [0, 1])
    state = {"weighting": {}, "collect": {"iterate": dict(p.snapshot().tensors)}}
    say(p, [2, 2])
    with pytest.raises(RuntimeError, match="no answer"):
        part(p, World(1), state, NOW)
    assert p.parameters()["logits"].tensor.argmax(dim=3).unique().tolist() == [2]


def test_a_loss_that_needs_it_is_refused_without_it() -> None:
    assert recipes.inpo().problems() == []
    problems = recipes.inpo(collect=BestWorst()).problems()
    assert len(problems) == 1 and "no collector keeps; see PreviousIterate" in problems[0]
    assert recipes.inpo(collect=BestWorst(inner=PreviousIterate())).problems() == []


def test_refuses_no_steps() -> None:
    with pytest.raises(ConfigError, match="`iterate_every` must be at least 1 step, got 0"):
        PreviousIterate(iterate_every=0)
