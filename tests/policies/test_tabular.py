"""The tabular policy against closed forms."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.policies import Tabular
from moalign.records import START, Couples, Need, Policy, Requests, Stream

STREAM = Stream(0, 1, "rollout")
LOGPROBS = frozenset({Need.LOGPROBS})


def requests(*members: int, n: int = 4, limit: int = 3, temperature: float = 1.0) -> Requests:
    prompts = torch.tensor([[0], [1]]).repeat(len(members), 1)
    return Requests(
        member=torch.tensor(members).repeat_interleave(2),
        prompt_tokens=prompts,
        prompt_mask=torch.ones_like(prompts, dtype=torch.bool),
        n=n,
        max_new_tokens=limit,
        temperature=torch.full((len(prompts),), temperature),
    )


@pytest.fixture
def policy() -> Tabular:
    policy = Tabular(members=["a", "b"], prompts=2, tokens=3, vocabulary=4, value_heads=2)
    for tensor in policy.tensors.values():
        tensor.data += torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1))
    return policy


def test_frequencies_are_the_softmax(policy) -> None:
    as_protocol: Policy = policy
    samples = as_protocol.sample(requests(1, n=20_000, temperature=2.0), stream=STREAM)
    tokens = samples.tokens[20_000:]  # of prompt 1
    for position in range(3):
        expected = (policy.tensors["logits"][1, 1, position].detach() / 2.0).softmax(-1)
        seen = torch.bincount(tokens[:, position], minlength=4) / 20_000
        assert_close(seen, expected, atol=0.02, rtol=0)  # five standard errors of at most 0.0036
    assert samples.finished.all() and samples.completion_mask.all()


def test_forward_is_the_table(policy, rows_of) -> None:
    samples = policy.sample(requests(0, 1), stream=STREAM)
    rows = rows_of(requests(0, 1), samples, 2)
    out = policy.forward(rows, frozenset(Need))
    assert_close(out.logprobs, samples.logprobs)
    i = 12  # member 1, prompt 1
    table = policy.tensors["logits"][1, 1].log_softmax(-1)
    assert_close(out.logprobs[i], table[torch.arange(3), rows.tokens[i]])
    assert_close(out.entropy[i], -(table.exp() * table).sum(-1))
    assert_close(out.values[i], policy.tensors["values"][1, 1])
    start = policy.forward(rows, frozenset(Need), at=START)
    assert_close(start.logprobs, torch.full((16, 3), 0.25).log())
    assert not start.values.any()
    swapped = replace(policy.snapshot(["b", "a"]))
    assert_close(policy.forward(rows, LOGPROBS, at=swapped).logprobs, out.logprobs)


def test_tokens_do_not_depend_on_company(policy) -> None:
    together = policy.sample(requests(0, 1), stream=STREAM)
    assert torch.equal(policy.sample(requests(1), stream=STREAM).tokens, together.tokens[8:])
    greedy = policy.sample(requests(0, temperature=0.0), stream=STREAM).tokens
    assert torch.equal(greedy[0], policy.tensors["logits"][0, 0].argmax(-1))


def test_an_end_token_ends() -> None:
    start = torch.full((1, 3, 3), -100.0)
    start[0, 0, 2] = start[0, 1, 1] = start[0, 2, 2] = 100.0  # always 2, end, 2
    policy = Tabular(members=["a"], prompts=1, tokens=3, vocabulary=3, start=start, eos_id=1)
    names = ("member", "prompt_tokens", "prompt_mask", "temperature")
    one = replace(requests(0), **{name: getattr(requests(0), name)[:1] for name in names})
    samples = policy.sample(one, stream=STREAM)
    assert samples.tokens.tolist() == [[2, 1, 0]] * 4
    assert samples.completion_mask.tolist() == [[True, True, False]] * 4
    assert samples.finished.all()
    cut = policy.sample(replace(one, max_new_tokens=1), stream=STREAM)
    assert not cut.finished.any() and cut.tokens.shape == (4, 1)


def test_mix_gather_save(policy, tmp_path) -> None:
    soup = policy.mix(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), ["half", "b"])
    logits = policy.tensors["logits"]
    assert_close(soup.tensors["logits"][0], (logits[0] + logits[1]) / 2)
    assert_close(soup.tensors["logits"][1], logits[1])
    soup.save("half", tmp_path)
    assert torch.equal(load_file(tmp_path / "tabular.safetensors")["logits"], soup.tensors["logits"][0])
    before = policy.snapshot()
    policy.gather([1, 0, 1], ["b", "a", "c"])
    policy.gather([1, 0], ["a", "b"])
    assert all(torch.equal(policy.tensors[name], tensor) for name, tensor in before.tensors.items())


def test_split_is_the_kept_rows(policy, rows_of) -> None:
    rows = rows_of(requests(0, 1), policy.sample(requests(0, 1), stream=STREAM), 2)
    rows = replace(rows, keep=rows.index != 5)
    (part,) = policy.split(rows, couples=Couples.ROWS)
    assert part.index.tolist() == [i for i in range(16) if i != 5]


def test_refusals(policy, rows_of) -> None:
    rows = rows_of(requests(0), policy.sample(requests(0), stream=STREAM), 2)
    with pytest.raises(ConfigError, match="value_heads"):
        Tabular(members=["a"], prompts=2, tokens=3, vocabulary=4).forward(rows, frozenset({Need.VALUES}))
    with pytest.raises(ConfigError, match="more `tokens`"):
        Tabular(members=["a"], prompts=2, tokens=2, vocabulary=4).forward(rows, LOGPROBS)
    with pytest.raises(ConfigError, match="`start` has shape"):
        Tabular(members=["a"], prompts=2, tokens=3, vocabulary=4, start=torch.zeros(1, 1, 1))
