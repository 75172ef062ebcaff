"""GSM8K with Qwen2.5-0.5B-Instruct: right, brief, and in the asked format. The arithmetic study, on a model of yours.

    moalign check examples/gsm8k.py
    moalign run examples/gsm8k.py

MODEL and DATA may be local directories, e.g. MODEL=models/qwen DATA=data/gsm8k moalign run examples/gsm8k.py
"""

import os
import re

from datasets import Dataset, load_dataset

from moalign import Objective, Study, recipes

MODEL = os.environ.get("MODEL", "Qwen/Qwen2.5-0.5B-Instruct")
DATA = os.environ.get("DATA", "openai/gsm8k")
LENGTH = 256
ASK = "Solve the problem step by step. End with a line '#### ' and the number."


def prompts(split: str) -> Dataset:
    """GSM8K in the layout moalign reads: a chat `prompt`, and `answer`, which the rewards get as a column."""

    def convert(row: dict) -> dict:
        chat = [{"role": "system", "content": ASK}, {"role": "user", "content": row["question"]}]
        return {"prompt": chat, "answer": row["answer"].split("####")[-1].strip().replace(",", "")}

    data = load_dataset(DATA, "main", split=split)
    assert isinstance(data, Dataset)
    return data.map(convert, remove_columns=data.column_names)


def correct(completions, answer, **kwargs) -> list[float]:
    """1 where the last number is the answer."""
    numbers = [re.findall(r"-?\d[\d,]*\.?\d*", text[0]["content"]) for text in completions]
    found = [each[-1].replace(",", "").rstrip(".") if each else None for each in numbers]
    return [float(a == b) for a, b in zip(found, answer)]


def tokens(completion_ids, **kwargs) -> list[float]:
    """How many tokens were used: a cost."""
    return [float(len(ids)) for ids in completion_ids]


def layout(completions, **kwargs) -> list[float]:
    """1 where the completion ends as asked."""
    return [float(bool(re.search(r"\n#### -?[\d,.]+\s*$", text[0]["content"]))) for text in completions]


test = prompts("test")
half = len(test) // 2

study = Study(
    "gsm8k",
    objectives=[
        Objective("correct", correct, bounds=(0, 1)),
        Objective("tokens", tokens, maximize=False, bounds=(0, LENGTH)),
        Objective("layout", layout, bounds=(0, 1)),
    ],
    model=MODEL,
    train_dataset=prompts("train"),
    eval_dataset=test.select(range(half)),
    test_dataset=test.select(range(half, len(test))),
    recipe=recipes.hypervolume(steps=200, learning_rate=1e-4, max_completion_length=LENGTH),
    reference_point={"correct": 0.0, "tokens": LENGTH, "layout": 0.0},
    eval_prompts=512,
)
