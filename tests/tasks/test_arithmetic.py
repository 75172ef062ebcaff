"""The arithmetic task: every reward worked by hand, the split, the tokenizer, and a base model that is reused."""

import json
import random
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from moalign.demo import base_path
from moalign.errors import ConfigError, UnknownNameError
from moalign.tasks import arithmetic


def ids(text: str, *, finished: bool = True) -> list[int]:
    return arithmetic.tokenizer()(text + "<eos>" * finished)["input_ids"]


# 47 + 85 = 132; tokens count the end token unless the reply was cut off
REPLIES = [
    # reply, finished, accuracy, tokens, clarity (ones, tens, marked, form)
    ("7+5=12, 4+8+1=13, #132", True, 1.0, 23, 4 / 4),
    ("7+5=12, 4+8+1=13, #122", True, 0.0, 23, 4 / 4),  # tidy but wrong: clear all the same
    ("7+5=12, 4+8+0=12, #122", True, 0.0, 23, 4 / 4),  # the carry was forgotten, but a carry is shown
    ("7+5=12 4+8=13 132", True, 1.0, 18, 1 / 4),  # plain: the tens step lacks its carry, no mark, no form
    ("12 13 132", True, 1.0, 10, 0 / 4),
    ("#132", True, 1.0, 5, 1 / 4),
    ("132", True, 1.0, 4, 0 / 4),
    ("1322", True, 0.0, 5, 0 / 4),  # not a match of a part of a number
    ("132 0", True, 0.0, 6, 0 / 4),  # the last number counts
    ("7+5=12, 4+8+1=13, #13", False, 0.0, 21, 4 / 4),  # cut off within the answer
    ("7+5=12, 4+8+1=", False, 0.0, 14, 1 / 4),  # cut off within the tens step
    ("4+8+1=13, 7+5=12, #132", True, 1.0, 23, 3 / 4),  # all there, in the wrong order
    ("7+5=12, 4+8+1=13, #132 #132", True, 1.0, 28, 3 / 4),  # all there, and more
    ("8+5=13, 4+8+1=13, #132", True, 1.0, 23, 2 / 4),  # 8 is no digit of the question; so the form fails too
    ("", True, 0.0, 1, 0 / 4),
    ("==++, #", True, 0.0, 8, 0 / 4),
]


@pytest.mark.parametrize(("text", "finished", "right", "tokens", "clear"), REPLIES, ids=[r[0] for r in REPLIES])
def test_rewards(text: str, finished: bool, right: float, tokens: int, clear: float) -> None:
    columns = {
        "prompts": ["47+85="],
        "completions": [text],
        "completion_ids": [ids(text, finished=finished)],
        "answer": ["132"],
        "trainer_state": None,
    }
    assert len(columns["completion_ids"][0]) == tokens
    assert arithmetic.accuracy(**columns) == [right]
    last = re.split(r"\D+", text.rstrip("=+#, "))[-1]
    assert arithmetic.brevity(**columns) == [1 - tokens / 32 if len(last) == 3 else 0.0]
    assert arithmetic.clarity(**columns) == [clear]


def test_brevity_wants_an_answer() -> None:
    replies = ["0 " * 14 + "132", "0 " * 20 + "132", "#122", "#12", "7", "1322", ""]
    assert arithmetic.brevity(replies, completion_ids=[ids(text) for text in replies], answer=["132"] * 7) == [
        *[0.0, 0.0],  # 2 * 14 + 3 + 1 = 32 tokens, and 44
        1 - 5 / 32,  # wrong, but an answer
        *[0.0, 0.0, 0.0, 0.0],
    ]


def test_clarity_refuses_other_prompts() -> None:
    with pytest.raises(ConfigError, match=r"`clarity` needs prompts like '47\+85=', not 'What"):
        arithmetic.clarity(["What is 2+2?"], ["4"])


def test_styles_pull_the_rewards_apart() -> None:
    style = {name: arithmetic.solution(47, 85, style=name) for name in arithmetic.STYLES}
    lengths = [ids(text) for text in style.values()]
    brief = arithmetic.brevity(list(style.values()), completion_ids=lengths, answer=["132"] * len(style))
    clear = arithmetic.clarity(["47+85="] * len(style), list(style.values()))
    assert brief == sorted(brief, reverse=True) and len(set(brief)) == 5  # direct, marked, sums, plain, tidy
    assert clear == [0.0, 0.25, 0.0, 0.25, 1.0]
    assert max(len(ids(arithmetic.solution(99, 99, style=name))) for name in style) <= arithmetic.MAX_NEW_TOKENS


def test_split_is_disjoint_and_covers_every_pair() -> None:
    splits = {name: [row["prompt"] for row in arithmetic.prompts(name)] for name in ("train", "dev", "test")}
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 2980, "dev": 1024, "test": 4096}
    everything = [prompt for rows in splits.values() for prompt in rows]
    assert len(set(everything)) == len(everything) == 90 * 90
    for rows in splits.values():  # 47+85 and 85+47 are never on two sides
        assert {"+".join(reversed(prompt[:-1].split("+"))) + "=" for prompt in rows} == set(rows)


def test_split_is_seeded_and_random() -> None:
    random.seed(1)
    first = arithmetic.prompts("test")
    random.seed(2)
    assert arithmetic.prompts("test") == first
    for row in first:
        a, b = row["prompt"][:-1].split("+")
        assert int(a) + int(b) == int(row["answer"])
    # a hash-based split once held out exactly the sums that end in 0: here each last digit has its tenth,
    # 410 of 4,096, give or take five standard deviations of sqrt(4096 * .1 * .9) = 19
    ends = [sum(row["answer"].endswith(str(digit)) for row in first) for digit in range(10)]
    assert all(abs(count - 410) < 96 for count in ends)


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="no `split` is called `tests`; did you mean test"):
        arithmetic.prompts("tests")
    with pytest.raises(UnknownNameError, match="no `style` is called `tidi`; did you mean tidy"):
        arithmetic.solution(1, 2, style="tidi")


def test_texts_come_from_train_pairs_in_the_declared_mixture() -> None:
    lines = arithmetic.texts(4000, seed=3)
    train = {row["prompt"]: row["answer"] for row in arithmetic.prompts("train")}
    right = arithmetic.accuracy([line["completion"] for line in lines], [train[line["prompt"]] for line in lines])
    assert 1 - sum(right) / 4000 == pytest.approx(0.1, abs=0.02)
    tidy = sum(", " in line["completion"] for line in lines) / 4000
    assert tidy == pytest.approx(0.3, abs=0.03)
    assert arithmetic.texts(10, seed=3) == lines[:10] != arithmetic.texts(10, seed=4)


def test_tokenizer_round_trip(tmp_path) -> None:
    arithmetic.tokenizer().save_pretrained(tmp_path)
    for tokens in (arithmetic.tokenizer(), AutoTokenizer.from_pretrained(tmp_path)):
        text = "7+5=12, 4+8+1=13, #132"
        assert len(tokens(text)["input_ids"]) == len(text)  # one token per character
        assert tokens.decode(tokens(text + "<eos>")["input_ids"], skip_special_tokens=True) == text
        assert tokens("x\n")["input_ids"] == [tokens.unk_token_id] * 2
        batch = tokens(["1", "47+85="], padding=True)
        assert batch["input_ids"][0][:5] == [tokens.pad_token_id] * 5  # on the left
        assert batch["attention_mask"] == [[0] * 5 + [1], [1] * 6]
        assert (tokens.pad_token_id, tokens.eos_token_id, tokens.unk_token_id) == (0, 1, 2)


def test_base_is_deterministic_reused_and_replaced(tmp_path, monkeypatch) -> None:
    state = torch.random.get_rng_state()
    first = arithmetic.train_base(tmp_path / "a", steps=3, threads=1, progress=False)
    arithmetic.train_base(tmp_path / "b", steps=3, threads=1, progress=False)
    assert torch.equal(torch.random.get_rng_state(), state)  # the caller's random numbers are left alone
    weights = (first / "model.safetensors").read_bytes()
    assert weights == (tmp_path / "b" / "model.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]  # nothing partial is left

    arithmetic.train_base(first, steps=2, threads=1, progress=False)  # another setting replaces it
    assert weights != (first / "model.safetensors").read_bytes()
    assert json.loads((first / "base.json").read_text())["steps"] == 2

    def trained(**_):
        raise AssertionError("trained again")

    monkeypatch.setattr(arithmetic, "_trained", trained)
    assert arithmetic.train_base(tmp_path / "b", steps=3) == tmp_path / "b"
    with pytest.raises(AssertionError, match="trained again"):
        arithmetic.train_base(tmp_path / "b", steps=3, seed=1)


def test_base_loads_like_any_other_model(tmp_path) -> None:
    arithmetic.train_base(tmp_path / "base", steps=1, seed=5, threads=1, progress=False)
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "base")
    # embeddings 18 * 160, per layer 4 * 160^2 + 3 * 160 * 440 + 2 * 160, last norm 160; the head is tied
    assert model.num_parameters() == 18 * 160 + 3 * (4 * 160**2 + 3 * 160 * 440 + 2 * 160) + 160 == 944_800
    assert model.generation_config.eos_token_id == tokens.eos_token_id
    assert model.generation_config.pad_token_id == tokens.pad_token_id
    reply = model.generate(**tokens("47+85=", return_tensors="pt"), do_sample=False)
    assert 1 <= reply.shape[1] - 6 <= arithmetic.MAX_NEW_TOKENS


def test_seconds_stop_early(tmp_path) -> None:
    slow = arithmetic.train_base(tmp_path / "one", steps=1, threads=1, progress=False)
    fast = arithmetic.train_base(tmp_path / "many", steps=500, seconds=0.0, threads=1, progress=False)
    one, many = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (slow, fast))
    changed = [name for name in one if not torch.equal(one[name], many[name])]
    assert changed == []  # both took one step, and the rate's first value does not depend on the number of steps


def test_base_never_replaces_something_else(tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"`directory` .* holds something else"):
        arithmetic.train_base(tmp_path, steps=1)
    with pytest.raises(ConfigError, match="`steps` must be at least 1, not 0"):
        arithmetic.train_base(tmp_path / "new", steps=0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_command_line(tmp_path, capsys) -> None:
    arithmetic.main([str(tmp_path / "base"), "--steps", "1", "--threads", "1"])
    assert capsys.readouterr().out.split()[-1] == str(tmp_path / "base")
    with pytest.raises(SystemExit):
        arithmetic.main(["--help"])
    assert "example: python -m moalign.tasks.arithmetic models/arithmetic" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        arithmetic.main([str(tmp_path), "--steps", "1"])
    assert "`directory`" in capsys.readouterr().err


def test_import_is_light() -> None:
    code = """import sys, moalign.tasks.arithmetic as task; task.prompts("dev")
print(sorted({"torch", "transformers", "rich"} & set(sys.modules)))"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_demo_base_is_small_and_knows_the_task() -> None:
    files = list(base_path().iterdir())
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    assert all(path.stat().st_mode & 0o004 for path in files)  # readable once installed for everyone
    assert AutoModelForCausalLM.from_pretrained(base_path()).dtype == torch.bfloat16
    model: Any = AutoModelForCausalLM.from_pretrained(base_path(), dtype=torch.float32)
    tokens, rows = AutoTokenizer.from_pretrained(base_path()), arithmetic.prompts("dev")[:256]
    prompts = [row["prompt"] for row in rows]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        out = model.generate(**tokens(prompts, return_tensors="pt"), do_sample=True, temperature=1.0, top_k=0)[:, 6:]
    completions = tokens.batch_decode(out, skip_special_tokens=True)
    answers = [row["answer"] for row in rows]
    assert 0.3 < sum(arithmetic.accuracy(completions, answers)) / 256 < 0.75  # headroom on both sides
    kinds = [r"\d+", r"#\d+", r"\d+ \d+ \d+", r"\d\+\d=\d+ \d\+\d=\d+ \d+", r"\d\+\d=\d+, \d\+\d\+\d=\d+, #\d+"]
    shares = torch.tensor([sum(bool(re.fullmatch(kind, text)) for text in completions) / 256 for kind in kinds])
    assert_close(shares, torch.tensor(list(arithmetic.STYLES.values())), atol=0.12, rtol=0)


def test_demo_is_made_by_its_script(tmp_path) -> None:
    from moalign.demo.make import make

    made = make(tmp_path / "base", steps=1, threads=1, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
    assert sorted(path.name for path in made.iterdir()) == sorted(path.name for path in base_path().iterdir())
    assert AutoModelForCausalLM.from_pretrained(made).dtype == torch.bfloat16
