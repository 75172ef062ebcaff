"""Evaluations with known scores, and a tiny model with a character tokenizer and an adapter on disk."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from moalign.evaluation import Evaluation, Sample
from moalign.objectives import Objective

OBJECTIVES = (
    Objective("right", len),
    Objective("tokens", len, maximize=False, bounds=(0, 32)),
    Objective("polite", len, optimize=False),
)
MEANS = {  # right, tokens, polite in own units
    "m00": (0.9, 20.0, 0.1),
    "m01": (0.5, 8.0, 0.9),
    "m02": (0.4, 10.0, 1.0),  # dominated by m01: polite is not trained and does not count
    "m03": (0.7, 14.0, 0.5),
}


@pytest.fixture
def objectives() -> tuple[Objective, ...]:
    return OBJECTIVES


@pytest.fixture
def evaluation() -> Callable[..., Evaluation]:
    """Build an evaluation whose means are exactly those given, with noise shared by the members of each prompt."""

    def make(split: str, *, seed: int = 0, prompts: int = 16, noise: float = 0.1, **changes: tuple) -> Evaluation:
        means = torch.tensor([list(row) for row in (MEANS | changes).values()], dtype=torch.float64)
        generator = torch.Generator().manual_seed(seed)
        errors = torch.randn(1, prompts, 3, generator=generator, dtype=torch.float64)
        scores = (means * torch.tensor([1.0, -1.0, 1.0]))[:, None] + noise * (errors - errors.mean(1, keepdim=True))
        sample = Sample("1+1=", "<b>2</b>", {"right": 1.0, "tokens": -3.0, "polite": None})
        names = tuple(o.name for o in OBJECTIVES)
        members = tuple(MEANS | changes)
        valid = torch.ones_like(scores, dtype=torch.bool)
        return Evaluation(names, members, scores, valid, split=split, samples=((sample,),) * len(members))

    return make


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of a few thousand parameters over the characters of sums."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("base")
    words = ["<pad>", "<eos>", *"0123456789+= "]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>").save_pretrained(path)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(words), **sizes, pad_token_id=0, eos_token_id=1, bos_token_id=None)
    LlamaForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def adapter_path(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter that changes the model's output, saved by PEFT."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    path = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(model_path), config).save_pretrained(path)
    return path
