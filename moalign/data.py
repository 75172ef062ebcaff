"""Prompts and their columns: read from anywhere, rendered once, split with a seed, tokenized when drawn."""

import csv
import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from moalign.errors import ConfigError
from moalign.models import explained, looks_local
from moalign.records import Stream

SMALLEST = 64  # prompts below which 10 % say nothing
FILES = (".jsonl", ".json", ".parquet", ".csv")
SPLIT = re.compile(r"(.+):([A-Za-z_]\w*(?:\[[^\]]*\])?)")  # name:split, name:train[:100]

log = logging.getLogger("moalign")


@dataclass(frozen=True)
class PromptSet:
    """Prompts in a fixed order, with the columns the user gave (``prompt`` among them) and the text a model reads."""

    ids: tuple[int, ...]  # row of the source
    columns: Mapping[str, tuple[Any, ...]]
    texts: tuple[str, ...]  # chat prompts through the template
    chat: bool  # templates bring their special tokens, plain text gets the tokenizer's

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {name: column[i] for name, column in self.columns.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def rows(self, index: Sequence[int]) -> "PromptSet":
        """Return these prompts, in this order."""
        return PromptSet(
            ids=tuple(self.ids[i] for i in index),
            columns={name: tuple(column[i] for i in index) for name, column in self.columns.items()},
            texts=tuple(self.texts[i] for i in index),
            chat=self.chat,
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the rows, their numbers and order, and the rendered texts: equal on resume or the data changed."""
        digest = hashlib.sha256()
        for i, row, text in zip(self.ids, self, self.texts):
            digest.update(json.dumps([i, row, text], sort_keys=True, default=repr).encode())
        return digest.hexdigest()


def load_prompts(source: Any, *, tokenizer: PreTrainedTokenizerBase, max_prompt_length: int | None = None) -> PromptSet:
    """Return the prompts of a file, a folder, a hub id, a `datasets.Dataset`, or a list of dicts or strings.

    A hub id or folder may carry a split (``"org/name:train"``), or be given as ``(path, config, split)``. Prompts of
    more than `max_prompt_length` tokens are left out; the rows keep their numbers.
    """
    rows = read_rows(source)
    chat = not isinstance(rows[0]["prompt"], str)
    if chat and tokenizer.chat_template is None:
        raise ConfigError("the prompts are chats, but the tokenizer has no `chat_template`; set one, or use text.")
    texts = tuple(_text(row["prompt"], i, chat, tokenizer) for i, row in enumerate(rows))
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: tuple(row.get(name) for row in rows) for name in names}
    prompts = PromptSet(tuple(range(len(rows))), columns, texts, chat)
    if max_prompt_length is None:
        return prompts
    lengths = [len(ids) for ids in _token_lists(prompts, tokenizer)]
    fitting = [i for i, n in enumerate(lengths) if n <= max_prompt_length]
    if not fitting:
        raise ConfigError(f"all prompts are longer than `max_prompt_length` {max_prompt_length} (from {min(lengths)}).")
    if len(fitting) < len(prompts):
        log.warning("%d of %d prompts are longer than %d tokens and are left out",
                    len(prompts) - len(fitting), len(prompts), max_prompt_length)  # fmt: skip
    return prompts.rows(fitting)


def _text(prompt: Any, row: int, chat: bool, tokenizer: PreTrainedTokenizerBase) -> str:
    if isinstance(prompt, str) == chat:
        raise ConfigError(f"`prompt` of row {row} is not in the form of row 0; make all of them text, or all chats.")
    if not chat:
        return prompt
    if not prompt or not all(isinstance(m, Mapping) and "role" in m and "content" in m for m in prompt):
        raise ConfigError(f"`prompt` of row {row} must be text or a list of messages with `role` and `content`.")
    return str(tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True))


def read_rows(source: Any) -> list[dict[str, Any]]:
    """Return the rows of a source, each with a ``prompt``; the errors are those of `load_prompts`."""
    if isinstance(source, str | Path) and Path(source).expanduser().is_file():
        rows = _read_file(Path(source).expanduser())
    elif isinstance(source, str | Path | tuple):
        rows = _load(source)
    elif hasattr(source, "column_names") and hasattr(source, "features"):
        rows = _listed(source)
    elif isinstance(source, Sequence):
        rows = [{"prompt": row} if isinstance(row, str) else row for row in source]
    elif isinstance(source, Mapping):
        raise ConfigError(f"this is a dict of data sets ({', '.join(map(str, source))}); pass one of them.")
    else:
        raise ConfigError(f"a data set must be a path, a hub id, a Dataset or a list, not {type(source).__name__}.")
    if not rows:
        raise ConfigError("the data set is empty; pass at least one prompt.")
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise ConfigError(f"row {i} of the data set is a {type(row).__name__}; pass dicts (or only strings).")
        if row.get("prompt") is None:
            has = ", ".join(map(str, row))
            raise ConfigError(f"the data set has no `prompt` in row {i}, which has: {has}; {_rename(row)}")
    return [dict(row) for row in rows]


def _rename(row: Mapping[str, Any]) -> str:
    near = next((n for n in ("question", "instruction", "query", "input", "messages", "text") if n in row), None)
    name = near or next((name for name in row if name != "prompt"), "question")
    return f"rename one, for example dataset.rename_column({name!r}, 'prompt')."


def _read_file(path: Path) -> list[Any]:
    """Rows of a file, read here rather than through `datasets`, which would write a copy into its cache."""
    if path.suffix not in FILES:
        raise ConfigError(f"`{path}` ends in {path.suffix or 'nothing'}; a data file must end in {', '.join(FILES)}.")
    with explained(path, f"a {path.suffix[1:]} file"):
        if path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as lines:
                return [_json_line(line, n) for n, line in enumerate(lines, 1) if line.strip()]
        if path.suffix == ".json":
            rows = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(rows, list):
                raise ValueError("it must hold a list of objects")
            return rows
        if path.suffix == ".csv":  # every value is text; an empty one is missing
            with path.open(encoding="utf-8", newline="") as lines:
                return [{name: value or None for name, value in row.items()} for row in csv.DictReader(lines)]
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path).to_pylist()


def _json_line(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}: {error}") from error


def _load(source: str | Path | tuple[Any, ...]) -> list[Any]:
    """Rows of a folder or hub id, through `datasets`."""
    path, config, split = _named_split(source)
    if Path(path).suffix in FILES:
        raise ConfigError(f"`{path}` should be a data file, but there is no such file here; check the spelling.")
    with explained(path, "a data set"):
        import datasets

        if looks_local(path):
            path = str(Path(path).expanduser())
        if (Path(path) / "state.json").exists():  # written by Dataset.save_to_disk
            data = datasets.load_from_disk(path)
        elif (Path(path) / "dataset_dict.json").exists():
            splits: Any = datasets.load_from_disk(path)
            if split not in splits:
                raise ValueError(f"it has no split {split}, but {', '.join(splits)}")
            data = splits[split]
        else:
            data = datasets.load_dataset(path, config, split=split)
        return _listed(data)


def _named_split(source: str | Path | tuple[Any, ...]) -> tuple[str, str | None, str]:
    if isinstance(source, tuple):
        if len(source) != 3:
            raise ConfigError(f"a data set given as a tuple must be (path, config, split), not {source!r}.")
        return str(source[0]), source[1], str(source[2] or "train")
    found = SPLIT.fullmatch(str(source))
    if found and not Path(source).expanduser().exists():
        if Path(found[1]).expanduser().is_file():
            raise ConfigError(f"`{source}`: a file has no splits; pass {found[1]}.")
        return found[1], None, found[2]
    return str(source), None, "train"


def _listed(data: Any) -> list[dict[str, Any]]:
    if not hasattr(data, "__len__"):
        raise ConfigError("a streaming data set has no length to shuffle over; load it with `streaming=False`.")
    columns = {name: list(data[name]) for name in data.column_names}
    return [{name: column[i] for name, column in columns.items()} for i in range(len(data))]


def check_dataset(source: Any) -> list[str]:
    """Return what is wrong with a data set, before any tokenizer is there; an empty list means that it can be used."""
    try:
        read_rows(source)
    except ConfigError as error:
        return [str(error)]
    return []


def split(prompts: PromptSet, seed: int) -> tuple[PromptSet, PromptSet, PromptSet]:
    """Return 80 % to train on, 10 % to select on and 10 % to value with, by distinct prompt, at random for a seed."""
    distinct = list(dict.fromkeys(prompts.texts))
    if len(distinct) < SMALLEST:
        raise ConfigError(
            f"`train_dataset` has {len(distinct)} distinct prompts and cannot be split (at least {SMALLEST}); "
            "pass `eval_dataset` and `test_dataset`."
        )
    order = torch.randperm(len(distinct), generator=Stream(seed, 0, "data").generator("split")).tolist()
    tenth = len(distinct) // 10
    place = {distinct[j]: 1 if k < tenth else 2 if k < 2 * tenth else 0 for k, j in enumerate(order)}
    train, dev, test = (prompts.rows([i for i, text in enumerate(prompts.texts) if place[text] == p]) for p in range(3))
    return train, dev, test


def tokenize(
    prompts: PromptSet, tokenizer: PreTrainedTokenizerBase
) -> tuple[Int[Tensor, "prompt prompt_token"], Bool[Tensor, "prompt prompt_token"]]:
    """Return left-padded tokens and their mask."""
    lists = _token_lists(prompts, tokenizer)
    width = max((len(ids) for ids in lists), default=0)
    pad: Any = tokenizer.pad_token_id
    tokens = torch.full((len(lists), width), pad, dtype=torch.long)
    mask = torch.zeros((len(lists), width), dtype=torch.bool)
    for i, ids in enumerate(lists):
        tokens[i, width - len(ids) :] = torch.tensor(ids, dtype=torch.long)
        mask[i, width - len(ids) :] = True
    return tokens, mask


def _token_lists(prompts: PromptSet, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    if not prompts.texts:
        return []
    lists: Any = tokenizer(list(prompts.texts), add_special_tokens=not prompts.chat)["input_ids"]
    for i, ids in zip(prompts.ids, lists):
        if not ids:
            raise ConfigError(f"`prompt` of row {i} has no tokens; leave empty prompts out.")
    return lists
