"""A study small enough for tests: a tiny untrained model that adds, three steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from moalign import Objective, Study, recipes
from moalign.tasks import arithmetic

DATA = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(10, 20) for b in range(10, 20)]


def digits(completions: list[str], **columns: Any) -> list[float]:
    """Share of characters that are digits."""
    return [sum(c.isdigit() for c in text) / max(len(text), 1) for text in completions]


def short(completion_ids: list[list[int]], **columns: Any) -> list[float]:
    return [1 - len(ids) / 8 for ids in completion_ids]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = arithmetic.tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture
def tiny_study(tiny_model: str) -> Callable[..., Study]:
    def make(name: str = "tiny", **changes: Any) -> Study:
        settings: dict[str, Any] = {
            "objectives": [Objective("digits", digits, bounds=(0, 1)), Objective("short", short, bounds=(0, 1))],
            "model": tiny_model,
            "train_dataset": DATA,
            "recipe": recipes.gdpo(
                steps=3, prompts_per_step=2, num_generations=4, max_completion_length=8, learning_rate=1e-2
            ),
            "members": 3,
            "reference_point": {"digits": 0.0, "short": 0.0},
            "eval_prompts": 8,
            "save_steps": 2,
        }
        return Study(name, **{**settings, **changes})

    return make


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"
