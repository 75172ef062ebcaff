"""Logs as trainers write them: TRL's own code, verl's lines, a run's rollouts; and what is said of anything else."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moalign.diagnostics import audit, read_table
from moalign.errors import ConfigError, RunError

CHAT = [{"role": "user", "content": "two?"}]


def trl(
    path: Path, step: int, prompts: Sequence[Any], rewards: dict[str, Sequence[float | None]], **extra: Any
) -> None:
    """Write what `GRPOTrainer.log` writes."""
    (path / "completions").mkdir(exist_ok=True, parents=True)
    count = len(prompts)
    table = {"step": [step] * count, "prompt": list(prompts), "completion": ["so"] * count, **rewards, **extra}
    frame = pd.DataFrame(table | {"advantage": np.linspace(-1, 1, count)})
    frame.to_parquet(path / "completions" / f"completions_{step:05d}.parquet")


def test_trl(tmp_path: Path) -> None:
    trl(tmp_path, 10, ["a", "a", "b", "b"], {"fmt": [1.0, 0.0, 1.0, 1.0], "acc": [0.0, None, 1.0, 0.0]}, note=["x"] * 4)
    trl(tmp_path, 20, ["b", "b", "b", "b"], {"fmt": [1.0, 1.0, 0.0, 1.0], "acc": [None] * 4})
    table = read_table(tmp_path)
    assert table.names == ("acc", "fmt")  # by name; text is no reward
    assert table.group.tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    assert table.step.tolist() == [10] * 4 + [20] * 4
    np.testing.assert_array_equal(table.values[:4], [[0, 1], [np.nan, 0], [1, 1], [0, 1]])
    assert np.isnan(table.values[4:, 0]).all() and (table.weights == 1).all()
    assert table.advantages is not None and table.advantages[[0, 7]].tolist() == [-1.0, 1.0]
    assert read_table(tmp_path / "completions").values.shape == table.values.shape
    assert read_table(tmp_path, ["fmt"]).names == ("fmt",)
    assert read_table(tmp_path).weighted({"fmt": 0.1}).weights[0].tolist() == [1.0, 0.1]


def test_trl_chats(tmp_path: Path) -> None:
    other = [{"role": "user", "content": "three?"}]
    trl(tmp_path, 1, [CHAT, CHAT, other, other], {"acc": [1.0, 0.0, 1.0, 0.0]})
    assert read_table(tmp_path).group.tolist() == [0, 0, 1, 1]


def verl(path: Path, step: int, lines: Sequence[dict[str, Any]]) -> None:
    path.mkdir(exist_ok=True, parents=True)
    text = "\n".join(json.dumps({"output": "so", "gts": "1", "step": step} | line) for line in lines)
    (path / f"{step}.jsonl").write_text(text + "\n", encoding="utf-8")


def test_verl_is_put_together_by_prompt(tmp_path: Path) -> None:
    line = [("b", 1.0, 1.0, True), ("a", 0.2, 0.0, True), ("b", 0.2, 0.0, False), ("a", 1.2, 1.0, False)]
    made = [{"input": i, "score": s, "acc": a, "format": f, "pred": "7"} for i, s, a, f in line]
    verl(tmp_path, 1, made)
    verl(tmp_path, 2, made)  # the same prompts at another step are other groups
    table = read_table(tmp_path)
    assert table.names == ("acc", "format") and table.groups == 4
    assert table.values[:4].tolist() == [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    assert table.advantages is not None  # of `score`: 1.0 and 0.2 are one std of 0.8 / sqrt(2) apart
    assert table.advantages[:2].tolist() == pytest.approx([2**-0.5, -(2**-0.5)], abs=1e-3)
    assert "score" in table.credit


def test_verl_with_nothing_but_a_score(tmp_path: Path) -> None:
    verl(tmp_path, 1, [{"input": "a", "score": 1.0}, {"input": "a", "score": 0.0}])
    assert read_table(tmp_path).names == ("score",)


def moalign_run(path: Path, *, spec: bool = True) -> None:
    (path / "rollouts").mkdir(parents=True)
    rows = [
        {"member": m, "group": 0, "prompt_id": 7, "prompt": "p", "completion": "c", "finished": True, "kept": k,
         "reward/acc": a, "reward/tokens": t, "advantage": v}
        for m, k, a, t, v in [("m01", True, 1.0, 9.0, 0.5), ("m01", True, None, 5.0, -0.5),
                              ("m00", True, 0.0, 4.0, 1.0), ("m00", True, 1.0, 6.0, -1.0),
                              ("m00", False, 1.0, 1.0, 0.0)]
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(path / "rollouts" / "step-000019.parquet")
    objectives = [{"name": "tokens", "maximize": False, "bounds": [0, 10]}, {"name": "acc", "maximize": True}]
    if spec:
        record = {"objectives": objectives, "recipe": {"weighting": {"part": "hypervolume-gradient"}}}
        (path / "spec.json").write_text(json.dumps(record))
    line = {"step": 19, "members": ["m00", "m01"], "weights/acc": [0.9, 0.2], "weights/tokens": [0.1, 0.8],
            "rewards/acc/mean": [0, 0], "rewards/tokens/mean": [0, 0], "conflict/0__1": [-0.5, None]}  # fmt: skip
    (path / "metrics.jsonl").write_text(json.dumps(line) + "\n")


def test_a_run(tmp_path: Path) -> None:
    moalign_run(tmp_path / "run")
    table = read_table(tmp_path / "run")
    assert table.names == ("acc", "tokens") and table.groups == 2  # a row that was not kept is no completion
    np.testing.assert_array_equal(table.values, [[0, -4], [1, -6], [1, -9], [np.nan, -5]])  # costs are negated
    assert table.weights.tolist() == [[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.2, 0.8]]
    assert table.advantages is not None and table.advantages.tolist() == [1.0, -1.0, 0.5, -0.5]
    assert np.isnan(table.bounds[0]).all() and table.bounds[1].tolist() == [-10, 0]  # worst and best
    assert table.steered and table.cosines == {("acc", "tokens"): -0.5}
    assert audit(table).pairs[0].cosine == -0.5


def test_what_is_looked_for_is_said(tmp_path: Path) -> None:
    looked = "Looked for rollouts/step-.*parquet of a moalign run .* completions/completions_.* TRL .*jsonl .* verl"
    with pytest.raises(RunError, match=f"it is not a directory. {looked}"):
        read_table(tmp_path / "nowhere")
    with pytest.raises(RunError, match="it holds nothing"):
        read_table(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"loss": 1}\n')  # no dump of verl's
    with pytest.raises(RunError, match=r"it holds metrics.jsonl"):
        read_table(tmp_path)


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    trl(tmp_path / "a", 1, ["a", "a"], {})
    with pytest.raises(RunError, match="logs no reward"):
        read_table(tmp_path / "a")
    trl(tmp_path / "b", 1, ["a", "a"], {"acc": [0.0, 1.0]})
    with pytest.raises(ConfigError, match=r"`reward` names `accc`.*did you mean acc"):
        read_table(tmp_path / "b", ["accc"])
    with pytest.raises(ConfigError, match=r"`weight` names `accc`.*did you mean acc"):
        read_table(tmp_path / "b").weighted({"accc": 1.0})
    (tmp_path / "b" / "completions" / "completions_00002.parquet").write_bytes(b"PAR1 half a file")
    with pytest.raises(RunError, match=r"completions_00002.parquet` cannot be read as Parquet"):
        read_table(tmp_path / "b")
    verl(tmp_path / "c", 1, [{"input": "a", "score": 1.0}])
    (tmp_path / "c" / "2.jsonl").write_text('{"input": "a", "sc')
    with pytest.raises(RunError, match=r"line 1 of .*2.jsonl` is not JSON"):
        read_table(tmp_path / "c")
    moalign_run(tmp_path / "d", spec=False)
    with pytest.raises(RunError, match=r"no spec.json"):
        read_table(tmp_path / "d")
