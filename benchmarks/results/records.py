"""What a run leaves behind: a few kilobytes of JSON, from which everything on the page is computed."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moalign.errors import RunError
from moalign.runs import read_json
from moalign.runs.atomic import plain, write_bytes

VERSION = 1  # of what the arms are: counted up when one of them changes, since old records then belong to another


@dataclass(frozen=True)
class Member:
    """A behaviour that was valued: means in the objectives' order, larger is better."""

    id: str
    kind: str
    preference: list[float]
    dev: list[float]
    test: list[float]
    stderr: list[float]  # of `test`
    tracked: dict[str, float] = field(default_factory=dict)  # means on test of what is not trained


@dataclass(frozen=True)
class Record:
    """One run."""

    task: str
    arm: str
    seed: int
    scale: float  # of the learning rate
    smoke: bool
    objectives: list[str]
    reference: list[float]
    members: list[Member]
    kept: list[str]  # the front: at most K, chosen on dev
    hypervolume_dev: float
    hypervolume: float  # of the front, on test
    prompts: dict[str, int]  # dev and test
    tokens: int  # sampled while training, or read from data, each text once
    reward_calls: int  # completions scored while training, each text once
    rollouts: int
    seconds: float  # wall
    cpu_seconds: float
    peak_mb: float  # of the process
    curve: list[list[float]]  # rollouts so far, hypervolume of the members' running means; none for offline arms
    walk: dict[str, Any] | None  # of the weights, for the arms that others follow
    made: dict[str, Any] = field(default_factory=dict)  # commit, machine, versions, date, models
    failed: str = ""  # why there is no front; its hypervolume is then 0
    version: int = VERSION


def write(record: Record, path: Path) -> None:
    """Write a record; it appears whole or not at all."""
    write_bytes(path, (json.dumps(plain(asdict(record)), allow_nan=False) + "\n").encode())


def read(path: Path) -> Record:
    raw = read_json(path)
    if raw.get("version") != VERSION:
        raise RunError(f"`{path}` is of version {raw.get('version')} of the comparison, this is {VERSION}: delete it.")
    return Record(**{**raw, "members": [Member(**member) for member in raw["members"]]})


def read_all(root: Path) -> list[Record]:
    """Return every record under a directory, in the order of their paths."""
    return [read(path) for path in sorted(root.glob("*/*/*.json"))]
