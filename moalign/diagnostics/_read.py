"""Logs that people already have, as a `RewardTable`: runs of moalign, TRL's completions, verl's rollout dumps."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from moalign.diagnostics._frames import GROUP, as_table, chosen, columns_of, joined, numbers, read_columns, read_lines
from moalign.diagnostics._pressure import sum_then_normalize
from moalign.diagnostics._runs import read_run
from moalign.diagnostics._table import RewardTable
from moalign.errors import RunError

LAYOUTS = ("rollouts/step-*.parquet", "completions/completions_*.parquet", "completions_*.parquet", "*.jsonl")
LOOKED_FOR = (
    "rollouts/step-*.parquet of a moalign run (save_rollouts above 0)",
    "completions/completions_*.parquet of TRL (log_completions=True)",
    "*.jsonl with `input`, `output` and `score` of verl (trainer.rollout_data_dir)",
)
TRL = ("step", "advantage")  # numbers that TRL writes itself, GRPOTrainer.log
VERL = ("score", "step", "reward", "index")  # and verl, RayPPOTrainer._dump_generations


def read_table(path: str | Path, rewards: Sequence[str] = ()) -> RewardTable:
    """Return the rewards that a directory's logs hold; `rewards` names the columns that are rewards.

    Without `rewards` every numeric column is one that the trainer does not write itself. Weights are a run's own, and
    1 elsewhere: other trainers do not log them. Raises `RunError`, which says what was looked for.
    """
    path = Path(path)
    if path.is_dir():
        run, *trl, verl = (sorted(path.glob(pattern)) for pattern in LAYOUTS)
        if run:
            return read_run(path, run, rewards)
        for files in filter(None, trl):
            return _trl(path, files, rewards)
        if verl and {"input", "output", "score"} <= _first(verl[0]).keys():
            return _verl(path, verl, rewards)
        held = sorted(p.name for p in path.iterdir())
        some = ", ".join(held[:8]) + (f" and {len(held) - 8} more" if len(held) > 8 else "")
        there = f"it holds {some or 'nothing'}"
    else:
        there = "it is not a directory"
    raise RunError(f"`{path}` has no completions to read: {there}. Looked for {'; '.join(LOOKED_FOR)}.")


def _trl(path: Path, files: Sequence[Path], rewards: Sequence[str]) -> RewardTable:
    """TRL gathers its processes in order, so the completions of a prompt stand together."""
    frames = []
    for file in files:
        numeric, others = columns_of(file)
        if "prompt" not in others or "step" not in numeric:
            raise RunError(f"`{file}` has no columns `step` and `prompt`: these are not TRL's completions.")
        frame = read_columns(file, [*numeric, "prompt"])
        prompt = frame.pop("prompt").map(str)  # a chat is a list of messages
        frame[GROUP] = (prompt != prompt.shift()).cumsum()
        frames.append(frame)
    table = joined(frames, path)
    logged = "advantage" in table
    return as_table(
        table,
        chosen(table, rewards, TRL, path),
        source=f"TRL, {_files(files)}",
        advantages=numbers(table, "advantage") if logged else None,
        credit="TRL's own advantages" if logged else "",
    )


def _verl(path: Path, files: Sequence[Path], rewards: Sequence[str]) -> RewardTable:
    """verl deals a batch out to its workers before it is dumped, so completions are put together by their prompt."""
    import pandas as pd

    frames = []
    for file in files:
        lines = read_lines(file)
        if not lines:
            continue
        if not {"input", "score"} <= lines[0].keys():
            raise RunError(
                f"`{file}` has no `input` and `score` in its first line: this is not verl's dump of rollouts."
            )
        names = {name for line in lines for name, value in line.items() if isinstance(value, bool | int | float)}
        frame = pd.DataFrame({name: [line.get(name) for line in lines] for name in sorted(names)})
        if "step" not in frame:
            frame["step"] = int(file.stem) if file.stem.isdigit() else len(frames)
        same = "uid" if "uid" in lines[0] else "input"
        keys = pd.DataFrame({"step": frame["step"], "prompt": [str(line.get(same)) for line in lines]})
        frame[GROUP] = keys.groupby(["step", "prompt"], sort=False).ngroup()
        frames.append(frame)
    table = joined(frames, path)
    apart = any(name not in (*VERL, GROUP) for name in table.columns)
    total = as_table(table, ["score"], source="")
    return replace(
        as_table(table, chosen(table, rewards, VERL, path) if apart else ["score"], source=f"verl, {_files(files)}"),
        advantages=sum_then_normalize(total, total.weights),
        credit="of verl's `score`, normalised in its group",
    )


def _first(file: Path) -> dict[str, object]:
    """Return the first object of a JSON-lines file, or nothing."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        try:
            found = json.loads(lines.readline())
        except ValueError:
            return {}
    return found if isinstance(found, dict) else {}


def _files(files: Sequence[Path]) -> str:
    return f"{len(files)} file{'s' if len(files) > 1 else ''}"
