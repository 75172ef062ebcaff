"""A short soak: what a step leaves behind is looked for in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak import Watch

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_memory_stays_flat() -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--steps", "300", "--warm", "100", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    early, late, objects, tensors = (claim["ours"] for claim in json.loads(done.stdout)["claims"])
    assert late < 1.05 * early
    assert objects < 10  # a record of a step has dozens of numbers
    assert tensors == 0


def test_a_leak_is_seen() -> None:
    watch, kept = Watch(warm=60, steps=120), []
    for step in range(120):
        kept.append({str(key): float(key) + step for key in range(40)})  # of numbers alone: no business of gc's
        watch({"step": step})
    objects, tensors = watch.claims()[2:]
    assert objects.ours > 40 and tensors.ours == 0
