"""The bridge's advantages are TRL's own where its configuration is left as it is, on degenerate matrices of rewards."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from moalign.objectives import Objective

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

NAN, ROWS, SIZE = float("nan"), 8, 4


def some(seed: int) -> torch.Tensor:
    return torch.randn(ROWS, 2, generator=torch.Generator().manual_seed(seed))


INDEX = torch.arange(ROWS)[:, None]
MATRICES = {
    "nothing missing": some(0),
    "half of one missing": torch.where((INDEX % 2 == 0) & (torch.arange(2) == 1), NAN, some(9)),
    "rows without any": torch.where(INDEX % 3 == 0, NAN, some(2)),
    "a group without any": torch.where(INDEX < SIZE, NAN, some(3)),
    "one scored in its group": torch.where(INDEX % SIZE > 0, NAN, some(4)),
    "constant": torch.full((ROWS, 2), 0.1),
    "a constant column": torch.cat([some(5)[:, :1], torch.ones(ROWS, 1)], 1),
    "a column that is never there": torch.cat([some(6)[:, :1], torch.full((ROWS, 1), NAN)], 1),
    "binary": (some(7) > 0).float(),
    "nearly constant": 1000.0 + 1e-3 * some(8),
}


def a(completions: list[str], **columns: Any) -> list[float]:
    raise AssertionError("the matrix stands in for it")


def b(completions: list[str], **columns: Any) -> list[float]:
    raise AssertionError("the matrix stands in for it")


@pytest.mark.parametrize(
    ("aggregation", "scale"),
    [
        ("sum_then_normalize", "group"),
        ("sum_then_normalize", "batch"),
        ("sum_then_normalize", "none"),
        ("normalize_then_sum", "group"),
    ],
)
def test_advantages_and_metrics(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aggregation: str, scale: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from trl.trainer.grpo_config import GRPOConfig
        from trl.trainer.grpo_trainer import GRPOTrainer as Theirs

        from moalign.bridges.trl import GRPOTrainer as Ours
    config = GRPOConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[],
        per_device_train_batch_size=ROWS, num_generations=SIZE, max_completion_length=2, reward_weights=[1.0, 0.3],
        multi_objective_aggregation=aggregation, scale_rewards=scale,
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": "1+1="}])
    made = Ours(model=tiny_model, reward_funcs=[b, a], args=config, train_dataset=data, objectives=[Objective("a")])
    model: Any = made.model
    model.train()
    for name, matrix in MATRICES.items():
        monkeypatch.setattr(Theirs, "_calculate_rewards", lambda *given, matrix=matrix: matrix)
        made._metrics["train"].clear()
        theirs = Theirs._generate_and_score_completions(made, [{"prompt": "1+1="}] * ROWS)["advantages"]
        said = {key: value[-1] for key, value in made._metrics["train"].items()}
        ours = made._generate_and_score_completions([{"prompt": "1+1="}] * ROWS)["advantages"]
        tolerance = 0.1 if name == "nearly constant" else 1e-5  # the digits that TRL's own mean of 1000s leaves
        assert_close(ours, theirs, atol=tolerance, rtol=0, msg=lambda m, name=name: f"{name}: {m}")
        for key in ("reward", "reward_std", "rewards/a/mean", "rewards/b/std"):
            found = made._metrics["train"][key][-1]
            assert found == pytest.approx(said[key], rel=1e-4, abs=1e-6, nan_ok=True), f"{name}: {key}"
    assert ours.any()
