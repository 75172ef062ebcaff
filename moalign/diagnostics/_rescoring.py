"""Score stored completions again, by reward functions that a person gives."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from moalign.data import read_rows
from moalign.diagnostics._replay import Kept, Scores, Stored, own_scores
from moalign.errors import ConfigError, StudyError
from moalign.objectives import Objective, gated
from moalign.parts import Bound
from moalign.rewards import Scorer
from moalign.rewards.calling import TrainerState
from moalign.rewards.sources import resolve


def new_scores(held: Stored, objectives: Sequence[Objective], rewards: Sequence[Objective], data: Any) -> list[Scores]:
    """Return the scores of `objectives` for every kept step: of `rewards` anew, of the others as they were stored.

    `rewards` may hold objectives that are only tracked, for others that come `after` them. `data`, as a study's
    ``train_dataset``, has the columns that the functions ask for.
    """
    _refuse_tokens(rewards)
    given = {o.name for o in rewards}
    stays = [o for o in held.replay.objectives if o.name not in given]  # gated when they were stored
    every = [*rewards, *stays]
    rows = None if data is None else read_rows(data)
    position = {o.name: k for k, o in enumerate(every)}
    pick = torch.tensor([position[o.name] for o in objectives])
    signs = torch.tensor([float(o.sign) for o in objectives])
    found = []
    with Scorer(rewards) as scorer:
        for kept in held.steps:
            columns = {} if rows is None else _columns(kept, rows)
            problems = scorer.problems([*columns, "prompt"])
            if problems:
                raise StudyError(f"{p} Define `train_dataset`, the data of the run, in the file." for p in problems)
            prompts = [_readable(prompt) for prompt in kept.table["prompt"]]
            state = TrainerState(kept.step, held.spec["recipe"]["steps"])
            scored = scorer.score(prompts, kept.table["completion"].tolist(), None, columns, state)
            old, there = own_scores(kept, stays) if stays else (scored.values[:, :0], scored.valid[:, :0])
            turned = old * torch.tensor([float(o.sign) for o in stays])  # own signs, as gates read them
            values, valid = gated(every, torch.cat([scored.values, turned], 1), torch.cat([scored.valid, there], 1))
            found.append((torch.where(valid, values, 0.0)[:, pick] * signs, valid[:, pick]))
    return found


def _refuse_tokens(rewards: Sequence[Objective]) -> None:
    """Refuse functions that read what a run does not keep."""
    for o in rewards:
        fn = resolve(o.reward) if isinstance(o.reward, str) else o.reward
        fn = fn.fn if isinstance(fn, Bound) else fn
        try:
            asked = inspect.signature(fn).parameters if callable(fn) else {}
        except (ValueError, TypeError):  # some callables written in C have no signature
            continue
        if "completion_ids" in asked:
            raise ConfigError(
                f"the reward of objective `{o.name}` asks for `completion_ids`; a run keeps no tokens. Leave the "
                "objective out of the file, and its stored values stay."
            )


def _columns(kept: Kept, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the data's columns for each stored completion, found by the number of its prompt."""
    chosen = []
    for number, prompt in zip(kept.table["prompt_id"].tolist(), kept.table["prompt"]):
        if number >= len(rows) or _readable(rows[number]["prompt"]) != _readable(prompt):
            raise ConfigError(
                f"`train_dataset` is not the run's: its row {number} is not the prompt {_readable(prompt)!r}."
            )
        chosen.append(rows[number])
    return {name: [row.get(name) for row in chosen] for name in dict.fromkeys(n for row in chosen for n in row)}


def _readable(prompt: Any) -> Any:
    """Return a prompt as it was written: text, or a list of messages, which Parquet gives back as an array."""
    return prompt if isinstance(prompt, str) else [dict(message) for message in prompt]
