"""``moalign audit`` and ``moalign rescore``: what they print, what they refuse, and that an audit needs no torch."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

Call = Callable[..., tuple[int, str, str]]


def logs(path: Path) -> Path:
    """TRL's log of an easy and a hard reward."""
    (path / "completions").mkdir(parents=True)
    rewards = (np.random.default_rng(0).random((400, 2)) < np.array([0.95, 0.2])).astype(float)
    frame = pd.DataFrame(
        {"step": 10, "prompt": [f"p{i // 8}" for i in range(400)], "completion": "so", "format": rewards[:, 0]}
    )
    frame = frame.assign(accuracy=rewards[:, 1])
    frame.to_parquet(path / "completions" / "completions_00010.parquet")
    return path


def test_audit_prints_what_to_mend(moalign: Call, tmp_path: Path) -> None:
    status, out, err = moalign("audit", logs(tmp_path), "--weight", "format=0.1")
    assert status == 0, err
    assert "TRL, 1 file: 400 completions in 50 groups" in out
    assert "Does turning a weight down work?" in out and "sum_then_normalize" in out
    assert "- format: pulls" in out and "normalize_then_sum" in out


def test_audit_as_json(moalign: Call, tmp_path: Path) -> None:
    status, out, _ = moalign("audit", logs(tmp_path), "--json", "--reward", "accuracy")
    found = json.loads(out)
    assert status == 0 and [r["name"] for r in found["rewards"]] == ["accuracy"]
    assert found["rewards"][0]["left"]["sum_then_normalize"]["0.1"] is None  # nothing to compare with


def test_audit_refuses(moalign: Call, tmp_path: Path) -> None:
    status, _, err = moalign("audit", tmp_path)
    assert status == 2 and "it holds nothing. Looked for rollouts/step-*.parquet" in err
    status, _, err = moalign("audit", logs(tmp_path / "logs"), "--weight", "format")
    assert status == 2 and "`--weight format`: write name=number" in err


def test_audit_of_a_run(moalign: Call, finished: Path) -> None:
    status, out, err = moalign("audit", finished)
    assert status == 0 and "moalign, rollouts of 2 steps" in out, err


def test_audit_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, contextlib, moalign.cli\n"
        f"with contextlib.suppress(SystemExit): moalign.cli.app(['audit', {str(logs(tmp_path))!r}])\n"
        "print('LOADED', 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED False False", done.stdout


def test_rescore_prints_what_would_have_been(moalign: Call, finished: Path) -> None:
    status, out, err = moalign("rescore", finished, "--set", "weights.short=0", "--set", "weights.digits=1")
    assert status == 0, err
    assert "give back the stored advantages" in " ".join(out.split())
    assert "completions change sign" in " ".join(out.split()) and "front: as it was" in out


def test_rescore_by_a_file_of_rewards(moalign: Call, finished: Path, tmp_path: Path) -> None:
    file = tmp_path / "stricter.py"
    file.write_text(
        "from moalign import Objective\n"
        "def digits(completions, **columns):\n"
        "    return [float(c.isdigit()) for c in completions]\n"
        "objectives = [Objective('digits', digits, bounds=(0, 1))]\n"
    )
    status, out, err = moalign("rescore", finished, "--rewards", file, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["after"]["means"]["digits"] < found["before"]["means"]["digits"]
    assert found["after"]["means"]["short"] == found["before"]["means"]["short"]


def test_rescore_refuses(moalign: Call, finished: Path, tmp_path: Path, study_file: Path) -> None:
    status, _, err = moalign("rescore", tmp_path)
    assert status == 2 and "no spec.json" in err
    status, _, err = moalign("rescore", finished, "--set", "recipe.weighting=constant")
    assert status == 2 and "nothing is called `weighting` here" in err and "a replay changes" in err
    status, _, err = moalign("rescore", finished, "--rewards", study_file)  # its `short` counts tokens
    assert status == 2 and "asks for `completion_ids`" in err
    empty = tmp_path / "empty.py"
    empty.write_text("rewards = []\n")
    status, _, err = moalign("rescore", finished, "--rewards", empty)
    assert status == 2 and "defines no `objectives`" in err
