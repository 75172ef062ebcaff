"""examples/gsm8k.py through the very same code, with a tiny local model and data set in the hub's layout."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from moalign import Study, load
from moalign.cli._studies import studies_in

EXAMPLE = Path(__file__).parents[2] / "examples" / "gsm8k.py"
CARD = """---
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
---
"""
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The example's study, on files of its own."""
    data = tmp_path / "gsm8k"
    (data / "main").mkdir(parents=True)
    (data / "README.md").write_text(CARD, encoding="utf-8")
    for split, count in (("train", 24), ("test", 16)):
        rows = [
            {"question": f"Ann has {i} pens and buys 2.", "answer": f"{i}+2=<<{i}+2={i + 2}>>\n#### 1,{i:03d}"}
            for i in range(count)
        ]
        Dataset.from_list(rows).to_parquet(data / "main" / f"{split}-00000-of-00001.parquet")
    monkeypatch.setenv("MODEL", str(_save_model(tmp_path / "qwen")))
    monkeypatch.setenv("DATA", str(data))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    [found] = studies_in(EXAMPLE).values()
    return found


def _save_model(path: Path) -> Path:
    """A Qwen2 of a few thousand parameters over characters, with a chat template."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    words = [*special, *(chr(c) for c in range(32, 127)), "\n"]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<|endoftext|>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=special[0], eos_token=special[2], additional_special_tokens=[special[1]]
    )
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    Qwen2ForCausalLM(config).save_pretrained(path)
    return path


def test_trains_to_a_front(study: Study, tmp_path: Path) -> None:
    assert len(study.train_dataset) == 24 and len(study.eval_dataset) == len(study.test_dataset) == 8
    row: dict[str, Any] = study.train_dataset[3]
    assert [turn["role"] for turn in row["prompt"]] == ["system", "user"] and row["answer"] == "1003"
    smaller = {"steps": 2, "prompts_per_step": 2, "num_generations": 2, "max_completion_length": 12}
    short = study.replace(members=3, eval_prompts=8, **{f"recipe.{name}": value for name, value in smaller.items()})
    short.check()
    front = short.run(tmp_path / "run")
    points = [*front, *front.dominated]
    assert len(points) == 3 and {o.name for o in front.objectives} == {"correct", "tokens", "layout"}
    assert all(0 < point.values["tokens"] <= 12 for point in points)  # a cost, in its own unit
    assert load(tmp_path / "run").status == "finished"
    chat = front[0].samples[0].prompt
    assert "Ann has" in str(chat)


def test_rewards(study: Study) -> None:
    rewards = {objective.name: objective.reward for objective in study.objectives}
    replies = ["12 pens.\n#### 1,014", "#### 7 pens", "none"]
    chats = [[{"role": "assistant", "content": text}] for text in replies]
    assert rewards["correct"](chats, answer=["1014", "7", "3"]) == [1.0, 1.0, 0.0]
    assert rewards["layout"](chats) == [1.0, 0.0, 0.0]  # its last line is not "#### " and a number
    assert rewards["tokens"]([[1, 2, 3], [1]]) == [3.0, 1.0]
