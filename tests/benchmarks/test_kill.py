"""A sample of what `python -m benchmarks.kill` does a hundred times."""

import doctest
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import kill

ROOT = Path(__file__).parents[2]


def test_doctests() -> None:
    assert doctest.testmod(kill).failed == 0


@pytest.mark.slow
def test_killed_at_random_moments_the_arithmetic_study_ends_the_same(tiny_model: str) -> None:
    command = [sys.executable, "-m", "benchmarks.kill", "--kills", "5", "--seed", "2", "--model", tiny_model, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    *kills, different = json.loads(done.stdout)["claims"]
    assert sum(claim["ours"] for claim in kills) == 5
    assert different["ours"] == 0 and different["repeats"] >= 1
