"""A local model that answers chats."""

import asyncio

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from moalign.errors import ConfigError
from moalign.objectives import Objective
from moalign.parts import spec
from moalign.rewards import Judge, LocalModel, Scorer


def ask(model, *texts):
    return asyncio.run(model.answers([[{"role": "user", "content": text}] for text in texts]))


def test_answers_are_the_models_own_greedy_ones(tiny_model):
    texts = ["1+2=", "123+45=6", "7"]
    answers = ask(LocalModel(tiny_model, max_tokens=4, batch_size=2), *texts)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    for text, answer in zip(texts, answers, strict=True):
        tokens = tokenizer(text + "\n\n", return_tensors="pt")["input_ids"]
        start = tokens.shape[1]
        with torch.no_grad():
            for _ in range(4):
                best = model(tokens).logits[0, -1].argmax()
                tokens = torch.cat([tokens, best.view(1, 1)], dim=1)
                if best == tokenizer.eos_token_id:
                    break
        assert answer == tokenizer.decode(tokens[0, start:], skip_special_tokens=True)


def test_a_chat_goes_through_the_models_template(tiny_model, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}+{% endfor %}{% if add_generation_prompt %}={% endif %}"
    )
    tokenizer.save_pretrained(tmp_path)
    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(tmp_path)
    model = LocalModel(tmp_path, max_tokens=2)
    assert model._text([{"role": "system", "content": "1"}, {"role": "user", "content": "2"}]) == "1+2+="
    assert len(ask(model, "2", "3")) == 2


def test_a_local_model_is_a_judge(tiny_model):
    judge = Judge(LocalModel(tiny_model, max_tokens=4), "$prompt$completion")
    with Scorer([Objective("good", judge)]) as scorer:
        result = scorer.score(["1+1="], ["2"])
    assert not result.valid.any()  # an untrained model writes no score
    assert result.metrics["judge/unread"] == 1.0 and result.metrics["judge/unanswered"] == 0.0
    assert spec(judge)["model"] == {"part": "local", "path": tiny_model, "max_tokens": 4, "batch_size": 16}
    with pytest.raises(ConfigError, match="must be at least 1, not 0 and 16"):
        LocalModel(tiny_model, max_tokens=0)
