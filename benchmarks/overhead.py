"""What the vector costs: rewards to credit, and everything in a step that is not sampling, passes or rewards.

python -m benchmarks.overhead
"""

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.harness import Claim, parser, quiet, report, seconds
from benchmarks.rivals import study, trl_config, write_model
from moalign import Linear, recipes
from moalign.policies.hf import ModelPolicy
from moalign.records import Rewards, Rows
from moalign.rewards import Scorer
from moalign.training import descent

MEMBERS, PROMPTS, GENERATIONS, OBJECTIVES, TOKENS = 8, 64, 16, 8, 32
RECIPES = ("gdpo", "linear", "hypervolume", "grpo")


def main() -> None:
    """Time the credit of the usual recipes, and account for the whole of a step."""
    made = parser(
        "overhead", "What keeping the reward vector costs.", "  OMP_NUM_THREADS=1 python -m benchmarks.overhead"
    )
    made.add_argument("--repeats", type=int, default=50, help="of the credit (default: 50)")
    made.add_argument("--steps", type=int, default=6, help="of the study whose step is accounted for (default: 6)")
    options = made.parse_args()
    quiet()
    rows = some_rows()
    claims = [credit(name, rows, options.repeats) for name in RECIPES]
    with tempfile.TemporaryDirectory() as where:
        claims.append(rest_of_a_step(Path(where), options.steps))
    report(claims, options.json, record="overhead" if options.record else None)


def some_rows() -> Rows:
    """Return a batch of random rewards, a tenth of them missing."""
    generator = torch.Generator().manual_seed(0)
    many = MEMBERS * PROMPTS * GENERATIONS
    number = torch.arange(many)
    values = torch.rand(many, OBJECTIVES, generator=generator)
    valid = torch.rand(many, OBJECTIVES, generator=generator) > 0.1
    mask = torch.ones(many, TOKENS, dtype=torch.bool)
    ends = torch.ones(OBJECTIVES)
    return Rows(
        members=MEMBERS,
        member=number // (PROMPTS * GENERATIONS),
        prompt_id=number // GENERATIONS % PROMPTS,
        group=number // GENERATIONS % PROMPTS,
        prompt_tokens=torch.zeros(many, 4, dtype=torch.long),
        prompt_mask=torch.ones(many, 4, dtype=torch.bool),
        tokens=torch.zeros(many, TOKENS, dtype=torch.long),
        completion_mask=mask,
        train_mask=mask,
        keep=torch.ones(many, dtype=torch.bool),
        temperature=torch.ones(many),
        index=number,
        rewards=Rewards(values * valid, valid, tuple("abcdefgh"), ends, 0 * ends),
    )


def credit(name: str, rows: Rows, repeats: int) -> Claim:
    """Return the median time from the reward vectors to the credit of every token."""
    recipe = getattr(recipes, name)(learning_rate=Linear(1e-4, 1e-5))
    weights = torch.full((MEMBERS, 1, 1, OBJECTIVES), 1 / OBJECTIVES)
    state, gain = recipe.credit.init(MEMBERS, OBJECTIVES), torch.ones(MEMBERS)
    with torch.no_grad():
        times = [seconds(lambda: recipe.credit(rows, weights, gain, state)) for _ in range(repeats + 3)][3:]
    return Claim(f"rewards to credit, {name}, 8 × 64 × 16 × 8", 1000 * statistics.median(times), None, "ms", repeats)


def rest_of_a_step(where: Path, steps: int) -> Claim:
    """Return the share of a step, in percent, that is none of sampling, forward, backward and reward functions."""
    spent = {"accounted": 0.0}
    model = write_model(where / "model", 19)
    job = study(model, trl_config(where / "trl", steps=steps + 1), members=8)
    ends: list[tuple[float, float]] = []
    with contextlib.ExitStack() as stack:
        for owner, method in ((ModelPolicy, "sample"), (ModelPolicy, "forward"), (Scorer, "score")):
            stack.enter_context(timed(owner, method, spent))
        stack.enter_context(timed(descent.torch.autograd, "grad", spent))
        job.run(where / "run", on_step=lambda line: ends.append((time.perf_counter(), spent["accounted"])))
    whole = ends[-1][0] - ends[0][0]
    accounted = ends[-1][1] - ends[0][1]
    return Claim("rest of a step of 8 members", 100 * (1 - accounted / whole), None, "%", steps)


@contextlib.contextmanager
def timed(owner: Any, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add the time of every call of a function to what is accounted for."""
    plain: Callable[..., Any] = getattr(owner, name)

    def wrapped(*args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return plain(*args, **options)
        finally:
            spent["accounted"] += time.perf_counter() - began

    with patch.object(owner, name, wrapped):
        yield


if __name__ == "__main__":
    main()
