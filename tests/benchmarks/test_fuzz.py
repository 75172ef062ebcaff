"""A sample of the fuzzer's cases; `python -m benchmarks.fuzz` runs all of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fuzz import Escaped, one_study
from benchmarks.rivals import write_model
from moalign import Study

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_sample_runs_or_says_what_is_wrong() -> None:
    """In a process of its own: here every type is checked, which users' Python does not do."""
    command = [sys.executable, "-m", "benchmarks.fuzz", "--studies", "60", "--lines", "40", "--seed", "1000", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ends = {claim["name"]: claim["ours"] for claim in json.loads(done.stdout)["claims"]}
    assert ends["studies: a run"] > 0 and ends["studies: a MoalignError"] > 0 and ends["lines: exit 2"] > 0
    assert set(ends) <= {"studies: a run", "studies: a MoalignError", "lines: exit 0", "lines: exit 2"}


def test_what_escapes_is_told_with_its_seed_and_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **options: object) -> None:
        raise KeyError("oops")

    model = write_model(tmp_path / "model", 19, hidden=16, layers=1)
    monkeypatch.setattr(
        "benchmarks.fuzz.random_study", lambda rng, model: Study("s", [len], model="", train_dataset="")
    )
    monkeypatch.setattr(Study, "run", broken)
    with pytest.raises(Escaped, match="study of seed 7") as found:
        one_study(7, model, tmp_path / "run")
    assert found.value.where.startswith("KeyError at ")
