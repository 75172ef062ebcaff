"""From files of completions to columns of numbers; what is wrong with a file is said with its name."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moalign.diagnostics._table import RewardTable, Row, renumbered
from moalign.errors import ConfigError, RunError, nearest

if TYPE_CHECKING:
    import pandas as pd

GROUP = "__group"  # a column that numbers the groups, beside the logs' own


def columns_of(file: Path) -> tuple[list[str], list[str]]:
    """Return the numeric columns of a Parquet file, and the others."""
    import pyarrow.parquet as parquet
    from pyarrow import types

    try:
        schema = parquet.read_schema(file)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise RunError(f"`{file}` cannot be read as Parquet: {error}; delete it to go on without it.") from error
    numeric = [
        f.name
        for f in schema
        if types.is_floating(f.type) or types.is_integer(f.type) or types.is_boolean(f.type) or types.is_null(f.type)
    ]
    return numeric, [name for name in schema.names if name not in numeric]


def read_columns(file: Path, names: Sequence[str]) -> "pd.DataFrame":
    """Return these columns of a Parquet file; completions, which take most of it, need not be read."""
    import pyarrow.parquet as parquet

    frame = parquet.read_table(file, columns=list(names)).to_pandas().reset_index(drop=True)
    empty = [name for name in names if frame[name].isna().all()]
    return frame.astype(dict.fromkeys(empty, "float64"))


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file."""
    found: list[dict[str, Any]] = []
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                value = json.loads(line) if line.strip() else {}
            except ValueError as error:
                raise RunError(f"line {number} of `{file}` is not JSON: {error}; delete it to go on.") from error
            if not isinstance(value, dict):
                raise RunError(f"line {number} of `{file}` is a {type(value).__name__}, not an object.")
            if value:
                found.append(value)
    return found


def joined(frames: Sequence["pd.DataFrame"], path: Path) -> "pd.DataFrame":
    """Return the rows of all files, groups apart and in order; a column that a file lacks is missing."""
    import pandas as pd

    kept, groups = [], 0
    for frame in frames:
        if len(frame):
            kept.append(frame.assign(**{GROUP: frame[GROUP] + groups}))
            groups = int(kept[-1][GROUP].max()) + 1
    if not kept:
        raise RunError(f"the logs in `{path}` are empty; audit a directory with completions.")
    return pd.concat(kept, ignore_index=True).sort_values(GROUP, kind="stable", ignore_index=True)


def numbers(frame: "pd.DataFrame", name: str) -> Row:
    """Return a column as numbers, NaN where missing."""
    return frame[name].to_numpy(dtype=np.float64, na_value=np.nan)


def chosen(frame: "pd.DataFrame", asked: Sequence[str], own: Sequence[str], path: Path) -> list[str]:
    """Return the columns that are rewards: those asked for, or every numeric one that is not the trainer's own."""
    held = [name for name in frame.columns if name != GROUP and frame[name].dtype.kind in "fiub" and name not in own]
    for name in asked:
        if name not in frame.columns or frame[name].dtype.kind not in "fiub":
            raise ConfigError(f"`reward` names `{name}`, which is no numeric column in `{path}`{nearest(name, held)}")
    if not asked and not held:
        raise RunError(f"`{path}` logs no reward: of its numeric columns ({', '.join(own)}) none is a reward's.")
    return sorted(asked or held)


def as_table(
    frame: "pd.DataFrame",
    names: Sequence[str],
    *,
    source: str,
    weights: Mapping[str, Row] | None = None,
    advantages: Row | None = None,
    credit: str = "",
    ends: Mapping[str, tuple[float, float]] | None = None,
    signs: Mapping[str, int] | None = None,
    steered: bool = False,
    cosines: Mapping[tuple[str, str], float] | None = None,
) -> RewardTable:
    """Return a table of these columns of a frame that is ordered by group; values are turned to larger is better."""
    turn = signs or {}
    return RewardTable(
        names=tuple(names),
        values=np.stack([turn.get(name, 1) * numbers(frame, name) for name in names], axis=1),
        group=renumbered(frame[GROUP].to_numpy(dtype=np.int64)),
        step=frame["step"].to_numpy(dtype=np.int64),
        weights=np.stack([(weights or {}).get(name, np.ones(len(frame))) for name in names], axis=1),
        bounds=np.array([(ends or {}).get(name, (np.nan, np.nan)) for name in names]),
        advantages=None if advantages is None else np.nan_to_num(advantages),
        source=source,
        credit=credit,
        steered=steered,
        cosines=dict(cosines or {}),
    )
