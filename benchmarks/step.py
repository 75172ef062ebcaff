"""One GRPO step against TRL's trainer: same model, data, sampling and optimizer, one member, all parameters.

python -m benchmarks.step
"""

import statistics
import tempfile
from pathlib import Path

from benchmarks.harness import Claim, parser, quiet, report
from benchmarks.rivals import step_times, study, study_times, trl_config, trl_trainer, write_model
from benchmarks.same import check_same

CASES = {"equal lengths": 2048, "early end-of-sequence": 19}  # vocabulary: an end comes once in so many tokens


def main() -> None:
    """Compare step times after checking that both compute the same loss and gradient on the same completions."""
    made = parser(
        "step", "A GRPO step's time against TRL's.", "  OMP_NUM_THREADS=2 python -m benchmarks.step --steps 12"
    )
    made.add_argument("--steps", type=int, default=12, help="timed steps of each, in two turns (default: 12)")
    options = made.parse_args()
    quiet()
    claims = []
    with tempfile.TemporaryDirectory() as where:
        for name, vocabulary in CASES.items():
            claims.append(case(name, Path(where) / name.replace(" ", "-"), vocabulary, options.steps))
    report(claims, options.json, record="step" if options.record else None)


def case(name: str, where: Path, vocabulary: int, steps: int) -> Claim:
    """Return the median step times at one vocabulary."""
    model = write_model(where / "model", vocabulary)
    config = trl_config(where / "trl", steps=1)
    job = study(model, config, members=1, peft_config="full")
    check_same(trl_trainer(model, config), job)
    half = steps // 2 + 1
    ours: list[float] = []
    theirs: list[float] = []
    for turn in range(2):
        config = trl_config(where / "trl", steps=half, seed=turn)
        job = study(model, config, members=1, peft_config="full")
        ours += study_times(job, where / f"run-{turn}")
        theirs += step_times(trl_trainer(model, config))
    return Claim(f"GRPO step, {name}", statistics.median(ours), statistics.median(theirs), "s", len(ours))


if __name__ == "__main__":
    main()
