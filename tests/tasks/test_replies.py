"""The replies task: rules, rewards and judge worked by hand, the split, and models that are kept and reused."""

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from moalign.errors import ConfigError, UnknownNameError
from moalign.objectives import Objective
from moalign.rewards import Scorer
from moalign.tasks import _training, replies

QUESTION = "order 4 7 late wants money =>"  # 4 + 7 = 11, 11 mod 4 = 3: west, which has no refunds; so: resend
FULL = "dear customer we are sorry 4 plus 7 makes 11 west resend 4 7 all is well thank you"


def u(*worths: float) -> float:
    return max(0.0, 1 - math.exp(-(0.2 + sum(worths))))


REPLIES = [
    # reply, helpful, tokens, judge
    ("resend 4 7", 1.0, 4, u()),
    ("refund 4 7", 0.0, 4, u()),
    ("4 plus 7 makes 11 west resend 4 7", 1.0, 10, u(-0.3)),
    ("hello sorry resend 4 7 thanks", 1.0, 7, u(0.3, 0.3, 0.15)),
    (FULL, 1.0, 20, u(0.6, 0.8, -0.3, 0.7, 0.45)),
    ("resend 4 7 hello", 1.0, 5, u()),  # a greeting only in front
    ("thank you resend 4 7", 1.0, 6, u()),  # a closing only at the end
    ("sorry sorry sorry resend 4 7", 1.0, 7, u(0.3, -0.3)),  # once, and two words said again
    ("whatever calm down resend 4 7", 1.0, 7, u(-0.6, -0.8)),
    ("refund 4 7 resend 4 7", 1.0, 7, u()),  # the last action counts
    ("resend 7 4", 0.0, 4, u()),
]


@pytest.mark.parametrize(("text", "right", "tokens", "courtesy"), REPLIES, ids=[line[0] for line in REPLIES])
def test_rewards(text: str, right: float, tokens: int, courtesy: float) -> None:
    ids = replies.tokenizer()(text + "<eos>")["input_ids"]
    assert len(ids) == tokens
    assert replies.helpful([text], number=["4 7"], action=["resend"]) == [right]
    assert replies.brevity([text], completion_ids=[ids]) == [1 - tokens / 24]
    assert replies.true_courtesy([QUESTION], [text]) == pytest.approx([courtesy])


@pytest.mark.parametrize("text", ["", "resend", "resend 4", "4 7", "thank you", "resend 4 77", "resend 4 11"])
def test_brevity_wants_an_action_for_an_order(text: str) -> None:
    assert replies.brevity([text], completion_ids=[[1]]) == [0.0]
    assert replies.helpful([text], number=["4 7"], action=["resend"]) == [0.0]


def test_an_apology_that_is_not_owed_counts_a_quarter() -> None:
    assert replies.judge(QUESTION, "we are sorry") == pytest.approx(u(0.8))
    assert replies.judge("order 4 7 small wants money =>", "we are sorry") == pytest.approx(u(0.2))


def test_judge_refuses_other_prompts() -> None:
    with pytest.raises(ConfigError, match="`judge` needs prompts like 'order 4 7 late wants money =>', not 'What"):
        replies.true_courtesy(["What is 2+2?"], ["4"])


def test_rules_need_the_depot() -> None:
    # every depot offers two of the four wished-for actions: without it, whether a wish is granted is a coin toss
    for wish, action in replies.WISHES.items():
        done = [replies.action_for(number, "torn", wish) for number in (30, 31, 32, 33)]  # sums 3, 4, 5, 6
        assert sorted(done) == sorted([action, action, "collect", "collect"])


def test_split_is_disjoint_and_complete() -> None:
    splits = {name: replies.prompts(name) for name in ("train", "dev", "test")}
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 2880, "dev": 1024, "test": 4096}
    assert len({row["prompt"] for rows in splits.values() for row in rows}) == 8000 == 100 * 10 * 8
    assert all(set(row["prompt"].split()) >= set(row["number"].split()) for row in splits["test"])
    with pytest.raises(UnknownNameError, match="no `split` is called `tests`; did you mean test"):
        replies.prompts("tests")


def test_texts_have_the_declared_shares_and_train_prompts() -> None:
    lines = replies.texts(4000, seed=3)
    train = {row["prompt"] for row in replies.prompts("train")}
    assert {line["prompt"] for line in lines} <= train
    written = [line["completion"] for line in lines]
    right = replies.helpful(written, [line["number"] for line in lines], [line["action"] for line in lines])
    assert sum(right) / 4000 == pytest.approx(0.9, abs=0.02)
    assert sum("plus" in text for text in written) / 4000 == pytest.approx(replies.SHOWN, abs=0.03)
    assert sum("sorry" in text for text in written) / 4000 == pytest.approx(0.5, abs=0.03)
    assert replies.texts(10, seed=3) == lines[:10] != replies.texts(10, seed=4)


def test_pairs_follow_the_judge_with_its_noise() -> None:
    rows = replies.pairs(1500, seed=1)
    gaps = [replies.judge(row["prompt"], row["chosen"]) - replies.judge(row["prompt"], row["rejected"]) for row in rows]
    # given its two replies, a pair stands as the judge has it with probability sigmoid(8 * |gap|)
    expected = sum(1 / (1 + math.exp(-8 * abs(gap))) for gap in gaps if gap != 0)
    told = [gap > 0 for gap in gaps if gap != 0]
    assert sum(told) == pytest.approx(expected, abs=5 * math.sqrt(len(told) / 4))
    assert 0.7 * len(told) < sum(told) < 0.95 * len(told)
    held_out = {row["prompt"] for row in replies.prompts("dev")}
    assert {row["prompt"] for row in replies.pairs(20, split="dev")} <= held_out


def test_tokenizer_has_every_word() -> None:
    tokens = replies.tokenizer()
    lines = [f"{line['prompt']}{line['completion']}" for line in replies.texts(200)]  # no blank after "=>"
    assert not any(tokens.unk_token_id in ids for ids in tokens(lines)["input_ids"])
    assert {len(tokens(row["prompt"])["input_ids"]) for row in replies.prompts("dev")} == {replies.PROMPT_TOKENS}
    assert tokens.decode(tokens(FULL + "<eos>")["input_ids"], skip_special_tokens=True) == FULL
    assert tokens("good grief!")["input_ids"] == [tokens.unk_token_id] * 3


def test_bradley_terry_by_hand() -> None:
    class Scores:  # the score of a text is its number of words, twice over
        def __call__(self, input_ids: Any, attention_mask: Any) -> Any:
            return type("Output", (), {"logits": attention_mask.sum(1, keepdim=True).double() * 2})

    rows = [{"prompt": "order ", "chosen": "thank you", "rejected": "thanks"}]
    # scores 6 and 4: -log sigmoid(2) + 0.01 * 10^2 = 0.126928 + 1
    loss = _training.pair_loss(Scores(), replies.tokenizer(), rows, centre=0.01)
    assert_close(loss, torch.tensor(1.126928, dtype=torch.double))


@pytest.fixture
def quick(monkeypatch):
    """Small batches, and a reward model that is trained for two steps only."""
    monkeypatch.setitem(replies.TRAINING, "batch_size", 4)
    monkeypatch.setattr(replies, "REWARD_TRAINING", {**replies.REWARD_TRAINING, "batch_size": 4, "steps": 2})


def test_models_are_deterministic_reused_and_replaced(tmp_path, monkeypatch, quick) -> None:
    first = replies.train(tmp_path / "a", steps=2, threads=1, progress=False)
    replies.train(tmp_path / "b", steps=2, threads=1, progress=False)
    weights = {name: (first / name / "model.safetensors").read_bytes() for name in ("base", "courtesy")}
    assert all((tmp_path / "b" / name / "model.safetensors").read_bytes() == was for name, was in weights.items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]  # nothing partial is left

    tokens = AutoTokenizer.from_pretrained(first / "base")
    model: Any = AutoModelForCausalLM.from_pretrained(first / "base")
    answer = model.generate(**tokens([QUESTION], return_tensors="pt"), do_sample=False)
    assert 1 <= answer.shape[1] - replies.PROMPT_TOKENS <= replies.MAX_NEW_TOKENS
    with Scorer([Objective("courtesy", str(first / "courtesy"))]) as scorer:  # the library's own way to a reward model
        values = scorer.score([QUESTION] * 2, [FULL, "whatever resend 4 7"]).values
    assert ((values > 0) & (values < 1)).all()

    replies.train(first, steps=1, threads=1, progress=False)  # another setting replaces both
    assert weights["base"] != (first / "base" / "model.safetensors").read_bytes()

    def trained(**_):
        raise AssertionError("trained again")

    monkeypatch.setattr(replies, "_base", trained)
    assert replies.train(tmp_path / "b", steps=2) == tmp_path / "b"
    with pytest.raises(AssertionError, match="trained again"):
        replies.train(tmp_path / "b", steps=2, seed=1)


def test_command_line_never_replaces_something_else(tmp_path, capsys) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit):
        replies.main([str(tmp_path), "--steps", "1"])
    assert "holds something else" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        replies.main([str(tmp_path / "new"), "--steps", "0"])
    assert "`steps` must be at least 1, not 0" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_import_is_light() -> None:
    code = """import sys, moalign.tasks.replies as task; task.prompts("dev"); task.pairs(2)
print(sorted({"torch", "transformers", "rich"} & set(sys.modules)))"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
