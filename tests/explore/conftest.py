"""A study and its baseline on disk, with made-up numbers."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from moalign.evaluation import Evaluation, Sample
from moalign.fronts import build_front
from moalign.objectives import Objective
from moalign.runs import RunDirectory

OBJECTIVES = (
    Objective("accuracy", len),
    Objective("tokens", len, maximize=False, bounds=(0, 32)),
    Objective("clarity", len, threshold=0.0),
)
NAMES = tuple(o.name for o in OBJECTIVES)


def evaluate(split: str, members: int, bend: float, seed: int) -> Evaluation:
    """Points along a bent curve, with noise per prompt."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.linspace(0.1, 0.9, members, dtype=torch.float64)
    means = torch.stack([share**bend, -28 + 24 * (1 - share) ** bend, (1 - (share - 0.5).abs()) * 0.9 * bend], dim=1)
    means[2] -= 1.0  # dominated
    scores = means[:, None] + 0.3 * torch.randn(members, 200, 3, generator=generator, dtype=torch.float64)
    said = [Sample(f"{i}+1=", f"{i}+1={i + 1}", {"accuracy": 1.0, "tokens": -4.0, "clarity": None}) for i in range(3)]
    nasty = Sample(
        "<script>alert('p')</script>", "</script><b>&amp;", {"accuracy": 0.0, "tokens": -9.0, "clarity": 0.5}
    )
    chat = Sample([{"role": "user", "content": "1+1?"}], "", {"accuracy": 0.0, "tokens": -1.0, "clarity": 0.0})
    return Evaluation(
        NAMES,
        tuple(f"m{i:02d}" for i in range(members)),
        scores,
        torch.ones_like(scores, dtype=torch.bool),
        split=split,
        samples=((*said, nasty, chat),) * members,
    )


@pytest.fixture
def make_run() -> Callable[..., Path]:
    """Write a run directory as a study does."""

    def make(path: Path, *, bend: float = 0.4, members: int = 8, steps: int = 60) -> Path:
        preferences = torch.softmax(torch.linspace(-2, 2, members)[:, None] * torch.tensor([[1.0, -1.0, 0.2]]), dim=1)
        front = build_front(
            evaluate("dev", members, bend, 1),
            evaluate("test", members, bend, 2),
            objectives=OBJECTIVES,
            preferences=preferences,
            weights=preferences.roll(1, dims=1),
            kinds=["member"] * members,
            step=steps,
            seed=0,
            reference_point={"accuracy": 0.0, "tokens": 32.0, "clarity": 0.0},
        )
        with RunDirectory(path) as run:
            run.create({"name": "arithmetic", "recipe": {"part": "gdpo", "steps": steps}, "note": "<i>"})
            for step in range(steps):
                record = {"step": step, "members": [p.id for p in (*front.points, *front.dominated)]}
                for k, name in enumerate(NAMES):
                    wave = preferences[:, k] * (1 + 0.5 * math.sin(step / 9 + k))
                    record[f"weights/{name}"] = wave
                record["pareto/hypervolume"] = None if step == 0 else 20 * bend * (1 - math.exp(-step / 20))
                run.append_metrics(record)
            run.set_status("finished", step=steps)
            front.save(run.front_path)
        return path

    return make
