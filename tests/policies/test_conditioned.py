"""Behaviours of one adapter that a prefix tells apart."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from moalign.errors import ConfigError
from moalign.policies import Conditioned, LoraMembers, load_adapter
from moalign.policies.conditioned import prefixed
from moalign.records import Need, Prompts, Requests, Stream
from moalign.rollouts.collect import ask
from moalign.runs import read_json
from moalign.tasks import arithmetic

STREAM = Stream(0, 0, "eval")
PREFIXES = {"c00": "9,0 ", "c01": "0,9 ", "c02": ""}


@pytest.fixture
def one(tiny_model: str) -> LoraMembers:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), arithmetic.tokenizer()
    policy = LoraMembers(model, members=["m00"], pad_id=0, eos_ids=(1,), tokenizer=tokenizer)
    for stacked in policy.parameters().values():
        stacked.tensor.data += 0.3 * torch.randn(stacked.tensor.shape, generator=torch.Generator().manual_seed(3))
    return policy


def prompts(*texts: str) -> Prompts:
    read = arithmetic.tokenizer()(list(texts), padding=True, return_tensors="pt")
    return Prompts(torch.arange(len(texts)), read["input_ids"], read["attention_mask"].bool(), {"prompt": texts})


def requests(member: list[int], *texts: str) -> Requests:
    asked = prompts(*texts)
    return Requests(torch.tensor(member), asked.tokens, asked.mask, 2, 5, torch.ones(len(member)))


def test_there_is_one_set_of_parameters(one: LoraMembers) -> None:
    policy = Conditioned(one, PREFIXES)
    assert policy.members == ("c00", "c01", "c02")
    shared = policy.parameters()
    assert {name: x.tensor.data_ptr() for name, x in shared.items()} == {
        name: x.tensor.data_ptr() for name, x in one.parameters().items()
    }
    assert all(x.member_dim is None for x in shared.values())


def test_a_member_answers_as_the_policy_answers_the_longer_prompt(one: LoraMembers) -> None:
    policy = Conditioned(one, PREFIXES)
    greedy = replace(requests([1, 1], "12+13=", "7"), temperature=torch.zeros(2))
    by_hand = replace(requests([0, 0], "0,9 12+13=", "0,9 7"), temperature=torch.zeros(2))
    found, expected = policy.sample(greedy, stream=STREAM), one.sample(by_hand, stream=STREAM)
    assert torch.equal(found.tokens, expected.tokens)
    assert_close(found.logprobs, expected.logprobs)
    rows = ask(policy, prompts("12+13=", "7"), stream=STREAM, n=2, max_new_tokens=5, temperature=1.0)
    assert len(rows) == 3 * 2 * 2 and rows.prompt_tokens.shape[1] == 6  # rows hold what the user wrote
    again = policy.forward(rows, frozenset({Need.LOGPROBS}))
    assert_close(again.logprobs, rows.behaviour_logprobs, rtol=1e-4, atol=1e-4)
    first = rows.prompt_tokens[:, -1] == rows.prompt_tokens[0, -1]
    a, b = (again.logprobs[(rows.member == k) & first, 0] for k in (0, 1))
    assert not torch.equal(a, b)


def test_tokens_do_not_depend_on_company(one: LoraMembers) -> None:
    policy = Conditioned(one, PREFIXES)
    together = policy.sample(requests([0, 0, 1, 2, 2], "1+1=", "2", "1+1=", "333", "4"), stream=STREAM)
    alone = Conditioned(one, {"c02": ""}).sample(requests([0, 0], "333", "4"), stream=STREAM)
    assert torch.equal(together.tokens[6:], alone.tokens)
    mixed = policy.sample(requests([2, 0, 1, 2, 0], "333", "1+1=", "1+1=", "4", "2"), stream=STREAM)
    where = [2, 3, 8, 9, 4, 5, 0, 1, 6, 7]  # two completions of each request, in the first order
    assert torch.equal(mixed.tokens[where], together.tokens)
    other = Conditioned(one, {"a": "", "b": ""})  # one prefix, two names: other random numbers
    both = other.sample(requests([0, 0, 1, 1], "12", "34", "12", "34"), stream=STREAM)
    assert not torch.equal(both.tokens[:4], both.tokens[4:])


def test_prefixes_stand_behind_the_start_token_and_padding_is_on_the_left() -> None:
    tokenizer = arithmetic.tokenizer()
    asked = prompts("1+1=", "7")
    tokens, mask = prefixed(asked.tokens, asked.mask, ["9 ", "10,0 "], tokenizer)
    read = [tokenizer.decode(line[seen]) for line, seen in zip(tokens, mask)]
    assert read == ["9 1+1=", "10,0 7"] and mask.tolist() == [[True] * 6, [True] * 6]
    tokens, mask = prefixed(asked.tokens, asked.mask, ["", "9"], tokenizer)
    assert mask.tolist() == [[True] * 4, [False, False, True, True]]
    tokenizer.add_special_tokens({"bos_token": "<pad>"})  # any token will do
    start = torch.tensor([[tokenizer.bos_token_id, 5, 6]])
    tokens, _ = prefixed(start, torch.ones_like(start, dtype=torch.bool), ["0"], tokenizer)
    assert tokens.tolist() == [[tokenizer.bos_token_id, tokenizer.convert_tokens_to_ids("0"), 5, 6]]


def test_saves_the_adapter_and_the_prefix(one: LoraMembers, tmp_path: Path) -> None:
    policy = Conditioned(one, PREFIXES)
    policy.save("c01", tmp_path / "c01")
    one.save("m00", tmp_path / "m00")
    assert read_json(tmp_path / "c01" / "condition.json") == {"prefix": "0,9 "}
    (saved, _), (expected, _) = load_adapter(tmp_path / "c01"), load_adapter(tmp_path / "m00")
    assert all(torch.equal(saved[name][0], expected[name][0]) for name in expected)


def test_gather_moves_prefixes_and_restore_the_shared_tensors(one: LoraMembers) -> None:
    policy = Conditioned(one, PREFIXES)
    before = policy.snapshot()
    policy.gather([1, 1], ["x", "y"])
    assert policy.prefixes == {"x": "0,9 ", "y": "0,9 "} and policy.members == ("x", "y")
    for stacked in policy.parameters().values():
        stacked.tensor.data.zero_()
    policy.restore(before)
    assert all(torch.equal(x.tensor, before.tensors[name]) for name, x in one.parameters().items())


def test_what_cannot_be_is_refused(one: LoraMembers, lora: Callable[..., LoraMembers]) -> None:
    with pytest.raises(ConfigError, match="nothing to mix"):
        Conditioned(one, PREFIXES).mix(torch.ones(1, 3) / 3, ["s"])
    with pytest.raises(ConfigError, match="has 2"):
        Conditioned(lora("a", "b"), PREFIXES)
    with pytest.raises(ConfigError, match="tokenizer"):
        Conditioned(lora("a"), PREFIXES)
