"""Log-probabilities without the whole of the logits: the same numbers and gradients, and the logits are never made."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedModel

from moalign.policies import FullModel, LoraMembers
from moalign.policies.hf import ModelPolicy
from moalign.policies.scoring import hidden_scores, only_linear, output_layer, token_scores
from moalign.records import Need, Requests, Rows, Samples, Stream
from tests.policies.conftest import stir

NEEDS = frozenset({Need.LOGPROBS, Need.ENTROPY})


def scored(policy: ModelPolicy, rows: Rows, most: int) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Return log-probabilities, entropies and the gradients of a sum of both."""
    policy.max_logits = most
    out = policy.forward(rows, NEEDS)
    assert out.entropy is not None
    leaves = [stacked.tensor for stacked in policy.parameters().values()]
    loss = (out.logprobs * torch.linspace(1, 2, out.logprobs.numel()).view_as(out.logprobs)).sum() + out.entropy.sum()
    return out.logprobs.detach(), out.entropy.detach(), list(torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_stretches_give_the_same_numbers_and_gradients(
    model: PreTrainedModel,
    lora: Callable[..., LoraMembers],
    ask: Callable[..., Requests],
    rows_of: Callable[[Requests, Samples, int], Rows],
    kind: str,
    temperature: float,
) -> None:
    full = {"members": ["a", "b"], "pad_id": 0, "eos_ids": [2]}
    policy = lora("a", "b") if kind == "lora" else FullModel(model, **full)  # type: ignore[arg-type]
    stir(policy)
    requests = ask(0, 1, temperature=temperature)
    rows = rows_of(requests, policy.sample(requests, stream=Stream(0, 0, "rollout")), 2)
    whole = scored(policy, rows, 2**26)
    vocabulary = output_layer(policy.model).out_features
    parts = scored(policy, rows, 3 * vocabulary)
    for one, other in zip(whole[:2], parts[:2]):
        assert_close(one, other, atol=1e-5, rtol=1e-5)
    for one, other in zip(whole[2], parts[2]):
        assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_no_more_logits_are_made_than_allowed(
    lora: Callable[..., LoraMembers],
    ask: Callable[..., Requests],
    rows_of: Callable[[Requests, Samples, int], Rows],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = lora("a")
    requests = ask(0)
    rows = rows_of(requests, policy.sample(requests, stream=Stream(0, 0, "rollout")), 1)
    sizes: list[int] = []
    plain = torch.nn.functional.linear
    vocabulary = output_layer(policy.model).out_features

    def seen(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        out = plain(x, weight, bias)
        if weight.shape[0] == vocabulary and x.ndim == 2:
            sizes.append(out.numel())
        elif weight is output_layer(policy.model).weight and x.shape[1] > 1:
            sizes.append(10**9)  # the model's own head saw more than the prompts' last positions
        return out

    scored(policy, rows, 2 * vocabulary)  # finds out what kind of head there is
    monkeypatch.setattr(torch.nn.functional, "linear", seen)
    scored(policy, rows, 2 * vocabulary)
    assert sizes and max(sizes) <= 2 * vocabulary


def test_by_hand() -> None:
    layer = torch.nn.Linear(1, 2, bias=False)
    layer.weight.data = torch.tensor([[0.0], [1.0]])
    hidden, tokens = torch.tensor([[[0.0], [torch.log(torch.tensor(3.0))]]]), torch.tensor([[0, 1]])
    # logits (0, 0) and (0, log 3): log 1/2 and log 3/4
    logprobs, entropy = hidden_scores(hidden, layer, tokens, torch.ones(1), most=2, entropy=True)
    assert_close(logprobs.exp(), torch.tensor([[0.5, 0.75]]))
    expected = token_scores(layer(hidden), tokens, torch.ones(1), entropy=True)[1]
    assert entropy is not None and expected is not None
    assert_close(entropy, expected)


def test_a_head_with_a_cap_is_not_taken_apart(model: PreTrainedModel) -> None:
    assert only_linear(model)
    config = Gemma2Config(
        vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=4, final_logit_softcapping=0.1,
    )  # fmt: skip
    assert not only_linear(Gemma2ForCausalLM(config).eval())


def test_rows_without_tokens_score_nothing(
    lora: Callable[..., LoraMembers],
    ask: Callable[..., Requests],
    rows_of: Callable[[Requests, Samples, int], Rows],
) -> None:
    policy = lora("a")
    requests = ask(0, n=2)
    rows = rows_of(requests, policy.sample(requests, stream=Stream(0, 0, "rollout")), 1)
    none = replace(rows, completion_mask=torch.zeros_like(rows.completion_mask))
    policy.max_logits = 1
    assert not policy.forward(none, NEEDS).logprobs.any()
