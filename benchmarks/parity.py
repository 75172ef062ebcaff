"""Learning parity: one member learns as TRL's trainer does, and eight together as eight alone.

    python -m benchmarks.parity          # about 40 minutes on two cores

The margin was written down before the first run: mean rewards may differ by `MARGIN` of the rewards' range.
"""

import statistics
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, parser, quiet, report
from benchmarks.rivals import trl_config
from moalign import Objective, Study, recipes
from moalign.tasks import arithmetic

MARGIN = 0.03  # of the sum of three rewards in [0, 1], so one hundredth of what it can be
WEIGHTS = {"accuracy": 1.0, "brevity": 1.0, "clarity": 1.0}
AGGREGATIONS = ("sum_then_normalize", "normalize_then_sum")
LENGTH = 26
MODEL = Path("models/arithmetic")


def main() -> None:
    """Train both sides over several seeds and compare what they earned."""
    made = parser(
        "parity",
        "Learning parity with TRL, and of members with single runs.",
        "  python -m benchmarks.parity --seeds 3",
    )
    made.add_argument("--seeds", type=int, default=10, help="runs of each side (default: 10)")
    made.add_argument("--steps", type=int, default=30, help="of each run (default: 30)")
    made.add_argument("--members", type=int, default=8, help="trained together, and alone (default: 8)")
    options = made.parse_args()
    quiet()
    arithmetic.train_base(MODEL)
    with tempfile.TemporaryDirectory() as where:
        claims = [*against_trl(options, Path(where)), *against_single_runs(options, Path(where))]
    report(claims, options.json, record="parity" if options.record else None)
    apart = [claim for claim in claims if claim.rival is not None and abs(claim.ours - claim.rival) > MARGIN]
    for claim in apart:
        print(f"{claim.name}: {claim.ours:.3f} and {claim.rival:.3f} differ by more than {MARGIN}", file=sys.stderr)
    sys.exit(1 if apart else 0)


def against_trl(options: Namespace, where: Path) -> list[Claim]:
    """Return mean and final reward of one member and of TRL's trainer, for both of TRL's aggregations."""
    claims = []
    for how in AGGREGATIONS:
        ours, theirs = [], []
        for seed in range(options.seeds):
            config = trl_config(
                where / "trl", steps=options.steps, seed=seed, multi_objective_aggregation=how,
                reward_weights=list(WEIGHTS.values()),
            )  # fmt: skip
            config.max_completion_length, config.learning_rate = LENGTH, 3e-4
            job = adder(config, members=1, seed=seed, peft_config="full")
            ours.append(curve(job, where / f"{how}-{seed}")[0])
            theirs.append(trl_curve(config))
        claims += both(f"one member and TRL, {how}", ours, theirs)
    return claims


def against_single_runs(options: Namespace, where: Path) -> list[Claim]:
    """Return mean and final reward of members trained together and of as many runs of one member."""
    config = trl_config(where / "trl", steps=options.steps, reward_weights=list(WEIGHTS.values()))
    config.max_completion_length, config.learning_rate = LENGTH, 2e-3
    together = curve(adder(config, members=options.members, seed=100), where / "together")
    alone = [curve(adder(config, members=1, seed=101 + k), where / f"alone-{k}")[0] for k in range(options.members)]
    return both(f"{options.members} members together and alone", together, alone)


def both(name: str, ours: list[list[float]], theirs: list[list[float]]) -> list[Claim]:
    """Return the reward averaged over all steps, and over the last fifth of them."""
    last = max(len(ours[0]) // 5, 1)
    return [
        Claim(f"{name}: {what}", _mean(ours, cut), _mean(theirs, cut), "reward", len(ours))
        for what, cut in (("mean reward", None), ("final reward", last))
    ]


def _mean(curves: list[list[float]], last: int | None) -> float:
    return statistics.fmean(statistics.fmean(each if last is None else each[-last:]) for each in curves)


def adder(config: Any, *, members: int, seed: int, **changes: Any) -> Study:
    """Return the arithmetic study with equal weights, as TRL's configuration describes its training."""
    rewards = {name: getattr(arithmetic, name) for name in WEIGHTS}
    plain = Study(
        "parity",
        [Objective(name, reward, bounds=(0, 1)) for name, reward in rewards.items()],
        model=str(MODEL),
        train_dataset=arithmetic.prompts("train"),
        eval_dataset=arithmetic.prompts("dev"),
        test_dataset=arithmetic.prompts("test"),
        recipe=recipes.from_trl(config, reward_names=list(WEIGHTS)),
        members=members,
        preferences=[{name: 1 / len(WEIGHTS) for name in WEIGHTS}] * members,
        reference_point=dict.fromkeys(WEIGHTS, 0.0),
        eval_prompts=1,
        save_steps=10**6,
        save_rollouts=0,
        seed=seed,
    )
    return plain.replace(**changes)


def curve(job: Study, out: Path) -> list[list[float]]:
    """Return each member's summed mean reward at every step."""
    lines: list[dict[str, Any]] = []
    job.run(out, on_step=lines.append)
    return [
        [sum(WEIGHTS[name] * line[f"rewards/{name}/mean"][k] for name in WEIGHTS) for line in lines]
        for k in range(len(lines[0]["members"]))
    ]


def trl_curve(config: Any) -> list[float]:
    """Return TRL's reward at every step."""
    from datasets import Dataset
    from transformers import AutoTokenizer, PrinterCallback
    from trl.trainer.grpo_trainer import GRPOTrainer

    def brevity(completions: Any, completion_ids: Any, answer: Any, **columns: Any) -> list[float]:
        return arithmetic.brevity(completions, completion_ids, answer)

    config.logging_strategy, config.logging_steps = "steps", 1
    rewards: list[Any] = [arithmetic.accuracy, brevity, arithmetic.clarity]
    trainer = GRPOTrainer(
        model=str(MODEL),
        reward_funcs=rewards,
        args=config,
        train_dataset=Dataset.from_list(arithmetic.prompts("train")),
        processing_class=AutoTokenizer.from_pretrained(MODEL, padding_side="left"),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [line["reward"] for line in trainer.state.log_history if "reward" in line]


if __name__ == "__main__":
    main()
