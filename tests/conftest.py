"""A study small enough for tests: a tiny untrained model that adds, three steps; as objects, and as a file."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from moalign import Objective, Study, recipes
from moalign.cli import main
from moalign.cli._studies import select_studies
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


FILE = """
from moalign import Objective, Study, recipes


def digits(completions, **columns):
    return [sum(c.isdigit() for c in text) / max(len(text), 1) for text in completions]


def short(completion_ids, **columns):
    return [1 - len(ids) / 8 for ids in completion_ids]


study = Study(
    "tiny",
    objectives=[Objective("digits", digits, bounds=(0, 1)), Objective("short", short, bounds=(0, 1))],
    model={model!r},
    train_dataset=[{{"prompt": f"{{a}}+{{b}}="}} for a in range(10, 20) for b in range(10, 20)],
    recipe=recipes.hypervolume(
        steps=3, prompts_per_step=2, num_generations=4, max_completion_length=8, learning_rate=1e-2
    ),
    members=3,
    reference_point={{"digits": 0.0, "short": 0.0}},
    eval_prompts=8,
    save_steps=2,
)
baseline = study.replace(name="tiny-fixed", **{{"recipe.weighting": "constant"}})
"""


@pytest.fixture(scope="session")
def study_file(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file with a study and its baseline."""
    file = tmp_path_factory.mktemp("studies") / "tiny_adder.py"
    file.write_text(FILE.format(model=tiny_model), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def finished(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run of that file's first study; read it only."""
    out = tmp_path_factory.mktemp("finished")
    select_studies(study_file, only="tiny", settings=())[0].run(out / "tiny")
    return out / "tiny"


@pytest.fixture
def moalign(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process, as `moalign` does; return its exit status, output and errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["moalign", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        code = end.value.code
        return (code if isinstance(code, int) else 0), out, err

    return call
