import json
import logging

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from moalign.data import check_dataset, load_prompts, split, tokenize
from moalign.errors import ConfigError

ROWS = [{"prompt": "1+1=", "answer": "2"}, {"prompt": "10+2=", "answer": "12"}]
CHAT = [{"role": "user", "content": "1+1"}]


@pytest.fixture(scope="module")
def tokenizer():
    vocab = {t: i for i, t in enumerate(["<pad>", "<eos>", "<unk>", *"0123456789+=:"])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


@pytest.fixture
def chatty(tokenizer):
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}={% endif %}"
    )
    yield tokenizer
    tokenizer.chat_template = None


def write(path, kind):
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    elif kind == "csv":
        path.write_text("prompt,answer\n1+1=,2\n10+2=,12\n")
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_every_kind_of_file_gives_the_same_prompts(tmp_path, tokenizer, kind):
    path = tmp_path / f"data.{kind}"
    write(path, kind)
    loaded = load_prompts(str(path), tokenizer=tokenizer)
    assert list(loaded) == ROWS and loaded.texts == ("1+1=", "10+2=") and loaded.ids == (0, 1)
    assert loaded.fingerprint == load_prompts(ROWS, tokenizer=tokenizer).fingerprint
    assert check_dataset(path) == []


def test_lists_strings_and_datasets(tokenizer):
    assert list(load_prompts(["1", "2"], tokenizer=tokenizer)) == [{"prompt": "1"}, {"prompt": "2"}]
    assert list(load_prompts(datasets.Dataset.from_list(ROWS), tokenizer=tokenizer)) == ROWS
    ragged = load_prompts([{"prompt": "1"}, {"prompt": "2", "answer": "2"}], tokenizer=tokenizer)
    assert ragged.columns["answer"] == (None, "2")


def test_folders_of_the_hubs_layout_have_splits_and_configs(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "repo"
    folder.mkdir()
    write(folder / "train.jsonl", "jsonl")
    (folder / "test.jsonl").write_text(json.dumps({"prompt": "3", "answer": "3"}))
    assert len(load_prompts(str(folder), tokenizer=tokenizer)) == 2
    assert load_prompts(f"{folder}:test", tokenizer=tokenizer)[0]["prompt"] == "3"
    assert len(load_prompts(f"{folder}:train[:1]", tokenizer=tokenizer)) == 1
    assert len(load_prompts((str(folder), None, "test"), tokenizer=tokenizer)) == 1
    with pytest.raises(ConfigError, match=r"cannot be loaded as a data set: .*absent"):
        load_prompts(f"{folder}:absent", tokenizer=tokenizer)


def test_folders_saved_by_datasets(tmp_path, tokenizer):
    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": data, "test": data.select([1])}).save_to_disk(tmp_path / "two")
    assert list(load_prompts(tmp_path / "one", tokenizer=tokenizer)) == ROWS
    assert list(load_prompts(f"{tmp_path / 'two'}:test", tokenizer=tokenizer)) == ROWS[1:]
    with pytest.raises(ConfigError, match="it has no split dev, but train, test"):
        load_prompts(f"{tmp_path / 'two'}:dev", tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([{"question": "1+1", "answer": "2"}], r"no `prompt` in row 0, which has: question, answer; .*'question'"),
        ([{"prompt": "1"}, {"prompt": None}], "no `prompt` in row 1"),
        ([], "empty"),
        ([1, 2], "row 0 of the data set is a int"),
        (7, "not int"),
        ({"train": ROWS}, r"dict of data sets \(train\)"),
        ("no/such/data", "no such path"),
        ("missing.jsonl", "there is no such file"),
        ("org/not-there:train", "`org/not-there` is not a path here .* from the hub"),
        (("a", "b"), r"must be \(path, config, split\)"),
    ],
)
def test_what_is_wrong_with_a_source(source, message, tokenizer):
    with pytest.raises(ConfigError, match=message):
        load_prompts(source, tokenizer=tokenizer)
    assert len(check_dataset(source)) == 1


def test_what_is_wrong_with_a_file(tmp_path):
    (tmp_path / "a.txt").write_text("1+1")
    (tmp_path / "a.jsonl").write_text('{"prompt": "1"}\n{"prompt": \n')
    (tmp_path / "a.json").write_text('{"prompt": "1"}')
    assert "must end in .jsonl" in check_dataset(tmp_path / "a.txt")[0]
    assert "line 2" in check_dataset(tmp_path / "a.jsonl")[0]
    assert "list of objects" in check_dataset(tmp_path / "a.json")[0]
    assert "a file has no splits" in check_dataset(f"{tmp_path / 'a.jsonl'}:train")[0]


def test_chats_are_rendered_with_the_template_and_kept_as_they_were(chatty):
    loaded = load_prompts([{"prompt": CHAT}], tokenizer=chatty)
    assert loaded.texts == ("1+1=",) and loaded[0]["prompt"] == CHAT and loaded.chat
    assert tokenize(loaded, chatty)[0].tolist() == [[4, 13, 4, 14]]  # "1" is 4, "+" 13, "=" 14
    with pytest.raises(ConfigError, match="row 1 is not in the form of row 0"):
        load_prompts([{"prompt": CHAT}, {"prompt": "1"}], tokenizer=chatty)
    with pytest.raises(ConfigError, match="list of messages"):
        load_prompts([{"prompt": [{"text": "1"}]}], tokenizer=chatty)


def test_chats_need_a_template(tokenizer):
    with pytest.raises(ConfigError, match="no `chat_template`"):
        load_prompts([{"prompt": CHAT}], tokenizer=tokenizer)


def test_long_prompts_are_left_out_and_rows_keep_their_numbers(tokenizer, caplog):
    with caplog.at_level(logging.WARNING, "moalign"):
        loaded = load_prompts(["12345", "12", "123"], tokenizer=tokenizer, max_prompt_length=3)
    assert loaded.ids == (1, 2) and "1 of 3 prompts are longer than 3 tokens" in caplog.text
    with pytest.raises(ConfigError, match=r"longer than `max_prompt_length` 1 \(from 2\)"):
        load_prompts(["12345", "12"], tokenizer=tokenizer, max_prompt_length=1)


def test_tokenize_pads_on_the_left(tokenizer):
    tokens, mask = tokenize(load_prompts(["1", "0+1"], tokenizer=tokenizer), tokenizer)
    assert tokens.tolist() == [[0, 0, 4], [3, 13, 4]]
    assert mask.tolist() == [[False, False, True], [True, True, True]]
    with pytest.raises(ConfigError, match="row 1 has no tokens"):
        tokenize(load_prompts(["1", ""], tokenizer=tokenizer), tokenizer)


def test_split_is_seeded_disjoint_by_prompt_and_complete(tokenizer):
    prompts = load_prompts([str(i % 100) for i in range(150)], tokenizer=tokenizer)  # 50 prompts stand there twice
    train, dev, test = split(prompts, 3)
    texts = [set(part.texts) for part in (train, dev, test)]
    assert [len(t) for t in texts] == [80, 10, 10]
    assert not (texts[0] & texts[1] or texts[0] & texts[2] or texts[1] & texts[2])
    assert sorted(train.ids + dev.ids + test.ids) == list(range(150))
    assert [part.fingerprint for part in split(prompts, 3)] == [part.fingerprint for part in (train, dev, test)]
    assert split(prompts, 4)[1].ids != dev.ids
    with pytest.raises(ConfigError, match=r"63 distinct prompts and cannot be split \(at least 64\)"):
        split(prompts.rows(range(63)), 0)


def test_the_fingerprint_sees_every_value_and_the_order(tokenizer):
    base = load_prompts(ROWS, tokenizer=tokenizer)
    changed = load_prompts([ROWS[0], {**ROWS[1], "answer": "13"}], tokenizer=tokenizer)
    assert len({base.fingerprint, changed.fingerprint, base.rows([1, 0]).fingerprint}) == 3
