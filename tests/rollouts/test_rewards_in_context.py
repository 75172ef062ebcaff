"""Rewards before prompts: what is told, what is asked for, what is kept."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from moalign.data import load_prompts
from moalign.errors import ConfigError
from moalign.objectives import Objective
from moalign.policies import LoraMembers
from moalign.records import Rewards, Rows
from moalign.rewards import Scorer
from moalign.rollouts import RewardsInContext, RewardText, l2_target
from moalign.rollouts.best_rewards import best
from moalign.rollouts.environment import TextEnvironment
from moalign.rollouts.reward_text import shares, statistics, updated, wanted
from moalign.tasks import arithmetic

DIGITS = RewardText(template="{value}", separator=",", levels=9)
ANSWERS = ["1", "11", "#1", "#####"]


def long(completion_ids: list[list[int]], **columns: Any) -> list[float]:
    return [float(len(ids)) for ids in completion_ids]  # the end token counts


def plain(completions: list[str], **columns: Any) -> list[float | None]:
    return [None if text == "11" else float("#" not in text) for text in completions]


@pytest.fixture
def env() -> TextEnvironment:
    data = [{"prompt": f"{i}" * (1 + i % 2), "completion": ANSWERS[i % 4]} for i in range(8)]
    tokenizer, objectives = arithmetic.tokenizer(), (Objective("long", long), Objective("plain", plain))
    prompts = load_prompts(data, tokenizer=tokenizer)
    return TextEnvironment(prompts, tokenizer, Scorer(objectives), objectives, seed=0, max_completion_length=6)


@pytest.fixture
def policy(tiny_model: str) -> LoraMembers:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), arithmetic.tokenizer()
    return LoraMembers(model, members=["m00"], pad_id=0, eos_ids=(1,), tokenizer=tokenizer)


def now(**changes: Any) -> SimpleNamespace:
    settings = {"prompts_per_step": 8, "num_generations": 1, "max_completion_length": 6, "temperature": 1.0}
    return SimpleNamespace(**settings | {"steps": 4} | changes)


def told(rows: Rows) -> list[str]:
    tokenizer = arithmetic.tokenizer()
    lines = zip(rows.prompt_tokens, rows.prompt_mask)
    return ["".join(tokenizer.convert_ids_to_tokens(tokens[mask].tolist())) for tokens, mask in lines]


def test_a_rows_own_rewards_stand_before_its_prompt(env: TextEnvironment, policy: LoraMembers) -> None:
    rows, state = RewardsInContext(text=DIGITS)(policy, env, {"mark": 1}, now())
    # lengths with the end token 2, 3, 3, 6 are levels 0, 9/4, 9/4, 9 of 2..6; plain is 1, missing, 0, 0
    expected = {"1": "0,9 ", "#1": "2,0 ", "#####": "9,0 "}
    for line, prompt, completion, kept in zip(
        told(rows), rows.columns["prompt"], rows.columns["completion"], rows.keep.tolist()
    ):
        assert kept == (completion != "11")  # a reward is missing there
        assert not kept or line == expected[completion] + prompt
    assert not bool((rows.prompt_mask[:, :-1] & ~rows.prompt_mask[:, 1:]).any())  # padded on the left
    assert rows.behaviour_logprobs is None and rows.temperature.tolist() == [1.0] * 8
    assert state["mark"] == 1 and state["collect"]["count"].tolist() == [[8, 6]]
    assert state["collect"]["low"].tolist() == [[2, 0]] and state["collect"]["high"].tolist() == [[6, 1]]


@pytest.mark.parametrize("target", [None, l2_target])
def test_asks_for_rewards_and_tells_what_came(env: TextEnvironment, policy: LoraMembers, target: Any) -> None:
    part = RewardsInContext(text=DIGITS, online=0.5, quantile=0.0, target=target)
    asked = []
    sample = policy.sample

    def listening(requests, **options):
        asked.extend(told(SimpleNamespace(prompt_tokens=requests.prompt_tokens, prompt_mask=requests.prompt_mask)))
        return sample(requests, **options)

    policy.sample = listening
    _, state = part(policy, env.at(1), {}, now())
    assert not asked  # before half of the steps
    rows, state = part(policy, env.at(2), state, now(num_generations=2))
    assert len(asked) == 8 and len(rows) == 8 + 16
    assert rows.slots()[1:] == (16, 2)  # groups of one, then groups of two
    goals = [tuple(int(x) for x in line.split(" ")[0].split(",")) for line in asked]
    assert len(set(goals)) > 1
    assert target is not None or all(max(goal) == 9 for goal in goals)  # every reward but one at its highest
    for line, length in zip(told(rows), rows.completion_mask.sum(dim=1).tolist()):
        level = min(max(round((length - 2) / 4 * 9), 0), 9)
        assert line.startswith(f"{level},")  # what it reached, not what was asked for
    assert state["collect"]["count"][0, 0] == 16  # of the data alone
    again, _ = part(policy, env.at(2), {"collect": state["collect"]}, now(num_generations=2))
    assert torch.equal(again.tokens, rows.tokens)


def test_keeps_what_reaches_a_quantile_of_some_reward() -> None:
    # of 0..9, the quantile 0.7 is 6.3: rows 7, 8, 9 of the first objective, and their mirror of the second
    values = torch.stack([torch.arange(10.0), 9 - torch.arange(10.0)], dim=1)
    rows = scored(values, torch.ones_like(values, dtype=torch.bool))
    assert best(rows, 0.7).keep.nonzero().flatten().tolist() == [0, 1, 2, 7, 8, 9]
    missing = torch.ones_like(values, dtype=torch.bool)
    missing[:, 1] = False
    assert best(scored(values, missing), 0.7).keep.nonzero().flatten().tolist() == [7, 8, 9]
    without = replace(rows, keep=torch.arange(10) != 9)  # of 0..8, 5.6; and of 1..9, 6.6
    assert best(without, 0.7).keep.nonzero().flatten().tolist() == [0, 1, 2, 6, 7, 8]


def scored(values: torch.Tensor, valid: torch.Tensor) -> Rows:
    n = len(values)
    nothing, yes = torch.zeros(n, 1, dtype=torch.long), torch.ones(n, dtype=torch.bool)
    nan = torch.full((values.shape[1],), torch.nan)
    names = tuple("abcdef"[: values.shape[1]])
    return Rows(
        members=1, member=nothing[:, 0], prompt_id=nothing[:, 0], group=torch.arange(n), prompt_tokens=nothing,
        prompt_mask=nothing == 0, tokens=nothing, completion_mask=nothing == 0, train_mask=nothing == 0, keep=yes,
        temperature=torch.ones(n), index=torch.arange(n), rewards=Rewards(values, valid, names, nan, nan),
    )  # fmt: skip


def test_statistics_of_batches_are_those_of_everything() -> None:
    values = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)) + 1000
    valid = torch.rand(30, 2, generator=torch.Generator().manual_seed(1)) > 0.3
    seen = statistics(1, 2)
    for part in (slice(0, 4), slice(4, 20), slice(20, 30)):
        seen = updated(seen, scored(values[part], valid[part]))
    for k in range(2):
        own = values[valid[:, k], k].double()
        assert_close(seen["mean"][0, k], own.mean())
        std = (seen["square"] - seen["mean"].square()).sqrt()[0, k]
        assert_close(std, own.std(correction=0), rtol=1e-6, atol=1e-6)
        assert (seen["low"][0, k], seen["high"][0, k]) == (own.min(), own.max())
    target = torch.rand(5, 2, dtype=torch.float64)
    assert_close(shares(wanted(target, seen), seen), target)


def test_the_papers_form_is_z_scores() -> None:
    seen = {"mean": torch.tensor([[1.0, 0.0]]), "square": torch.tensor([[5.0, 0.0]])}  # deviations 2 and 0
    said = RewardText()(torch.tensor([[2.5, 3.0], [0.95, 3.0]]), torch.tensor([0, 0]), seen)
    # (2.5 - 1) / 2 = .75, (.95 - 1) / 2 = -.025; a reward that never varied is 0
    assert said == ["<rm1_score> 0.8 <rm2_score> 0.0 ", "<rm1_score> 0.0 <rm2_score> 0.0 "]
    own = RewardText(template=("right {value}", "brief {value}"), separator="; ", end=". ", decimals=2)
    assert own(torch.tensor([[2.5, 3.0]]), torch.tensor([0]), seen) == ["right 0.75; brief 0.00. "]
    with pytest.raises(ConfigError, match="2 texts for 3 objectives"):
        own(torch.zeros(1, 3), torch.tensor([0]), {name: torch.zeros(1, 3) for name in seen})


@pytest.mark.parametrize(
    "wrong", [{"template": "none"}, {"template": "{what} {value}"}, {"levels": 0}, {"decimals": -1}]
)
def test_a_text_that_cannot_tell_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RewardText(**wrong)


def test_shares_of_a_run_are_checked() -> None:
    for wrong in ({"online": 1.5}, {"quantile": -0.1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            RewardsInContext(**wrong)


def test_needs_a_tokenizer(env: TextEnvironment, policy: LoraMembers) -> None:
    policy.tokenizer = None
    with pytest.raises(ConfigError, match="tokenizer"):
        RewardsInContext()(policy, env, {}, now())
