"""Tiny models, requests and rows that the policies' tests share."""

from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from moalign.policies import LoraMembers
from moalign.policies.stacked import StackedMembers
from moalign.records import Requests, Rows, Samples

VOCABULARY, PAD, END = 12, 0, 1


@pytest.fixture(params=["llama", "qwen2"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "initializer_range": 0.3,
        "pad_token_id": PAD,
        "bos_token_id": 2,
        "eos_token_id": END,
    }
    if request.param == "llama":
        return LlamaForCausalLM(LlamaConfig(**sizes)).eval()
    return Qwen2ForCausalLM(Qwen2Config(**sizes)).eval()


def stir(policy: StackedMembers, scale: float = 0.2) -> StackedMembers:
    """Move every tensor away from its start, each member elsewhere."""
    generator = torch.Generator().manual_seed(7)
    for stacked in policy.parameters().values():
        stacked.tensor.data += scale * torch.randn(stacked.tensor.shape, generator=generator)
    return policy


@pytest.fixture
def lora(model: PreTrainedModel) -> Callable[..., LoraMembers]:
    """Build members with stirred adapters."""

    def build(*names: str, **options) -> LoraMembers:
        policy = LoraMembers(model, members=names, pad_id=PAD, eos_ids=(END,), r=3, alpha=6, **options)
        stir(policy)
        return policy

    return build


@pytest.fixture
def ask() -> Callable[..., Requests]:
    """Two prompts, one of them padded, for each of these members."""

    def build(*members: int, n: int = 3, limit: int = 9, temperature: float = 1.0) -> Requests:
        prompts = torch.tensor([[PAD, PAD, 5, 6], [4, 7, 8, 9]]).repeat(len(members), 1)
        return Requests(
            member=torch.tensor(members).repeat_interleave(2),
            prompt_tokens=prompts,
            prompt_mask=prompts != PAD,
            n=n,
            max_new_tokens=limit,
            temperature=torch.full((len(prompts),), temperature),
        )

    return build


@pytest.fixture
def rows_of() -> Callable[[Requests, Samples, int], Rows]:
    """Make rows of requests and their samples."""

    def build(requests: Requests, samples: Samples, members: int) -> Rows:
        many, n = len(samples.tokens), requests.n
        return Rows(
            members=members,
            member=requests.member.repeat_interleave(n),
            prompt_id=torch.arange(many) // n,
            group=(torch.arange(len(requests.member)) % 2).repeat_interleave(n),
            prompt_tokens=requests.prompt_tokens.repeat_interleave(n, 0),
            prompt_mask=requests.prompt_mask.repeat_interleave(n, 0),
            tokens=samples.tokens,
            completion_mask=samples.completion_mask,
            train_mask=samples.completion_mask,
            keep=torch.ones(many, dtype=torch.bool),
            temperature=requests.temperature.repeat_interleave(n),
            index=torch.arange(many),
        )

    return build
