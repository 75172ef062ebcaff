"""The kept rollouts of a run of moalign, with the weights of the members that made them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moalign.diagnostics._frames import GROUP, as_table, chosen, columns_of, joined, numbers, read_columns, read_lines
from moalign.diagnostics._table import RewardTable, Row
from moalign.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

OWN = ("step", "group", "prompt_id", "finished", "kept", "advantage")  # numbers that are no rewards

ASKED = ("constant", "reward-weights", "schedule")  # controllers that weigh as a person said


def read_run(path: Path, files: Sequence[Path], rewards: Sequence[str]) -> RewardTable:
    """Return the rewards of a run's kept completions, costs negated, with the weights that its metrics hold."""
    frames = []
    for file in files:
        numeric, others = columns_of(file)
        if "member" not in others or "group" not in numeric:
            raise RunError(f"`{file}` has no columns `member` and `group`: these are not a run's rollouts.")
        frame = read_columns(file, [*numeric, "member"])
        frame = frame[frame["kept"]] if "kept" in frame else frame
        frame.columns = [name.removeprefix("reward/") for name in frame.columns]
        frame["step"] = int(file.stem.removeprefix("step-"))
        frame[GROUP] = frame.groupby(["member", "group"]).ngroup()
        frames.append(frame)
    table = joined(frames, path)
    credits = [name for name in table.columns if name.startswith("advantage/")]
    names = chosen(table, rewards, (*OWN, *credits), path)
    record, metrics = _record(path), _metrics(path)
    declared = {o["name"]: o for o in record.get("objectives", [])}
    weights = _weights(table, names, metrics)
    each = [weights[name] * numbers(table, f"advantage/{name}") for name in names if f"advantage/{name}" in credits]
    single = numbers(table, "advantage") if "advantage" in table else None
    advantages = np.nan_to_num(np.stack(each)).sum(axis=0) if each else single
    return as_table(
        table,
        names,
        source=f"moalign, rollouts of {len(files)} step{'s' if len(files) > 1 else ''}",
        weights=weights,
        advantages=advantages,
        credit="" if advantages is None else "the run's own advantages",
        ends={name: _ends(o) for name, o in declared.items()},
        signs={name: -1 for name, o in declared.items() if not o.get("maximize", True)},
        steered=_steered(record),
        cosines=_cosines(metrics, names),
    )


def _record(path: Path) -> dict[str, Any]:
    """Return the record of the study."""
    file = path / "spec.json"
    if not file.exists():
        raise RunError(f"`{path}` has rollouts, but no spec.json that says what its objectives are.")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"`{file}` is damaged: {error}.") from error


def _steered(record: Mapping[str, Any]) -> bool:
    """Whether a controller moves the weights, so that they are not a person's."""
    recipe = record.get("recipe")
    weighting = recipe.get("weighting", {}) if isinstance(recipe, Mapping) else {}
    return weighting.get("part", ASKED[0]) not in ASKED


def _ends(objective: Mapping[str, Any]) -> tuple[float, float]:
    """Return the worst and the best bound, larger is better."""
    low, high = (float(value) for value in objective.get("bounds") or (np.nan, np.nan))
    return (low, high) if objective.get("maximize", True) else (-high, -low)


def _metrics(path: Path) -> list[dict[str, Any]]:
    file = path / "metrics.jsonl"
    return read_lines(file) if file.exists() else []


def _weights(table: "pd.DataFrame", names: Sequence[str], metrics: Sequence[Mapping[str, Any]]) -> dict[str, Row]:
    """Return each row's weights: those of its member at its step, 1 where the metrics do not say."""
    known = {
        (record["step"], member, name): record[f"weights/{name}"][k]
        for record in metrics
        for name in names
        if f"weights/{name}" in record
        for k, member in enumerate(record["members"])
    }
    keys = list(zip(table["step"].tolist(), table["member"].tolist()))
    return {name: np.array([known.get((*key, name), 1.0) for key in keys], dtype=float) for name in names}


def _cosines(metrics: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[tuple[str, str], float]:
    """Return the mean cosine of two objectives' gradients over steps and members, where the run logged it by number."""
    found: dict[tuple[str, str], list[float]] = {}
    for record in metrics:
        ordered = [key.split("/")[1] for key in record if key.startswith("rewards/") and key.endswith("/mean")]
        for key, values in record.items():
            if key.startswith("conflict/"):
                i, j = (int(number) for number in key.removeprefix("conflict/").split("__"))
                if max(i, j) < len(ordered):
                    pair = (ordered[i], ordered[j])
                    found.setdefault(pair, []).extend(v for v in values if v is not None)
    return {pair: float(np.mean(values)) for pair, values in found.items() if values and set(pair) <= set(names)}
