"""The full-parameter policy against the model itself."""

import copy

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from moalign.errors import ConfigError
from moalign.policies import FullModel
from moalign.records import START, Need, Policy, Stream

STREAM = Stream(0, 1, "rollout")
LOGPROBS = frozenset({Need.LOGPROBS})


@pytest.fixture
def full(model):
    """Build a policy whose members have moved from where the model stands."""

    def build(*names: str, **options) -> FullModel:
        policy = FullModel(model, members=names, pad_id=0, eos_ids=(1,), **options)
        generator = torch.Generator().manual_seed(3)
        for stacked in policy.parameters().values():
            stacked.tensor.data += 0.1 * torch.randn(stacked.tensor.shape, generator=generator)
        return policy

    return build


def test_forward_and_gradient_are_the_models(full, ask, rows_of, model) -> None:
    policy: Policy = full("a")
    rows = rows_of(ask(0), policy.sample(ask(0), stream=STREAM), 1)
    plain = copy.deepcopy(model).requires_grad_(True)
    for name, parameter in plain.named_parameters():
        parameter.data.copy_(policy.parameters()[name].tensor[0])
    i = 3  # a row whose prompt has no padding
    length = int(rows.completion_mask[i].sum())
    ids = torch.cat([rows.prompt_tokens[i], rows.tokens[i, :length]])[None]
    logprobs = plain(input_ids=ids).logits[0, 3:-1].log_softmax(-1).gather(1, rows.tokens[i, :length, None]).squeeze(1)
    ours = policy.forward(rows, LOGPROBS).logprobs[i, :length]
    assert_close(ours, logprobs, atol=1e-5, rtol=0)
    ours.sum().backward()
    logprobs.sum().backward()
    for name, parameter in plain.named_parameters():
        assert_close(policy.parameters()[name].tensor.grad[0], parameter.grad, atol=1e-4, rtol=1e-4)


def test_sampling_is_scored_alike_and_in_any_company(full, ask, rows_of) -> None:
    policy = full("a", "b")
    samples = policy.sample(ask(0, 1), stream=STREAM)
    rows = rows_of(ask(0, 1), samples, 2)
    order = torch.tensor([11, 0, 7, 3, 1, 10, 2, 9, 4, 8, 5, 6])
    scored = policy.forward(rows.select(order), LOGPROBS).logprobs
    mask = rows.completion_mask[order]
    assert_close(scored[mask], samples.logprobs[order][mask], atol=1e-5, rtol=0)
    alone = policy.sample(ask(1), stream=STREAM)
    assert torch.equal(alone.tokens, samples.tokens[6:])


def test_members_do_not_touch_each_other(full, ask, rows_of) -> None:
    policy = full("a", "b")
    rows = rows_of(ask(0, 1), policy.sample(ask(0, 1), stream=STREAM), 2)
    (policy.forward(rows, LOGPROBS).logprobs * rows.train_mask)[rows.member == 1].sum().backward()
    for stacked in policy.parameters().values():
        assert not stacked.tensor.grad[0].any()
    assert policy.parameters()["model.embed_tokens.weight"].tensor.grad[1].any()


@pytest.mark.parametrize("options", [{"gradient_checkpointing": True}, {"micro_rows": 2}])
def test_checkpointing_adds_up(full, ask, rows_of, options) -> None:
    gradients = []
    for policy in (full("a"), full("a", **options)):
        rows = rows_of(ask(0), policy.sample(ask(0), stream=STREAM), 1)
        (policy.forward(rows, LOGPROBS).logprobs * rows.train_mask).sum().backward()
        gradients.append({name: s.tensor.grad for name, s in policy.parameters().items()})
    for name, gradient in gradients[0].items():
        assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-4)


def test_start_is_the_model_as_it_was(model, full, ask, rows_of) -> None:
    before = model.state_dict()
    policy = full("a")
    rows = rows_of(ask(0), policy.sample(ask(0), stream=STREAM, at=START), 1)
    new = FullModel(model, members=["a"], pad_id=0, eos_ids=(1,))
    assert_close(
        policy.forward(rows, LOGPROBS, at=START).logprobs, new.forward(rows, LOGPROBS).logprobs, atol=1e-6, rtol=0
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_without_reference_the_model_itself_is_trained(model, ask, rows_of) -> None:
    policy = FullModel(model, members=["a"], pad_id=0, eos_ids=(1,), reference=False)
    policy.parameters()["model.norm.weight"].tensor.data.fill_(3.0)
    assert bool((model.model.norm.weight == 3.0).all())
    assert Need.REFERENCE not in policy.provides
    with pytest.raises(ConfigError, match="reference=True"):
        policy.sample(ask(0), stream=STREAM, at=START)


def test_save_mix_and_gather(full, ask, rows_of, tmp_path) -> None:
    policy = full("a", "b")
    soup = policy.mix(torch.tensor([[0.25, 0.75]]), ["soup"])
    for name, stacked in soup.parameters().items():
        a, b = policy.parameters()[name].tensor
        assert_close(stacked.tensor[0], 0.25 * a + 0.75 * b)
    soup.save("soup", tmp_path)
    loaded = dict(AutoModelForCausalLM.from_pretrained(tmp_path).named_parameters())
    assert all(torch.equal(loaded[name], stacked.tensor[0]) for name, stacked in soup.parameters().items())
    before = policy.snapshot()
    policy.gather([1, 0], ["b", "a"])
    policy.gather([1, 0], ["a", "b"])
    assert all(torch.equal(policy.snapshot().tensors[name], tensor) for name, tensor in before.tensors.items())


def test_value_heads(full, ask, rows_of) -> None:
    policy = full("a", value_heads=3)
    rows = rows_of(ask(0), policy.sample(ask(0), stream=STREAM), 1)
    values = policy.forward(rows, frozenset({Need.VALUES})).values
    assert values.shape == (*rows.tokens.shape, 3) and values.any()
    assert not policy.forward(rows, frozenset({Need.VALUES}), at=START).values.any()
