"""Random studies, options, rewards and command lines: each gives a run or a `MoalignError`, never anything else.

    python -m benchmarks.fuzz --studies 10000 --lines 2000

A case is its seed: `--seed 4711 --studies 1` makes one again.
"""

import contextlib
import io
import math
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from rich.progress import track

from benchmarks.harness import Claim, parser, quiet, report
from benchmarks.rivals import prompts, write_model
from moalign import Linear, Objective, PerMember, Study, recipes
from moalign.errors import MoalignError
from moalign.recipes import RECIPES

NUMBERS = [0, 1, 2, 3, -1, 0.5, 1e-4, 1e30, -0.0, math.nan, math.inf, True, None, "3", "", [1], {"a": 1}]
PATHS = [
    "recipe.learning_rate", "recipe.steps", "recipe.temperature", "recipe.num_generations", "recipe.prompts_per_step",
    "recipe.max_completion_length", "recipe.losses.policy.bounds.epsilon", "recipe.losses.kl.beta", "epsilon", "beta",
    "recipe.weighting", "recipe.credit", "recipe.update.passes", "recipe.update.max_grad_norm", "recipe.offer",
    "recipe.breed", "recipe.collect", "recipe.eval_temperature", "recipe.credit.estimate.scale", "recipe.nothing",
]  # fmt: skip
NAMES = ["hypervolume-gradient", "constant", "min-norm", "adamw", "sgd", "soups", "no-such-part", "pipeline", "gae"]
FIELDS = [
    "name", "model", "train_dataset", "eval_dataset", "members", "preferences", "reference_point", "peft_config",
    "engine", "seed", "eval_prompts", "save_steps", "save_total_limit", "save_rollouts", "micro_rows", "sample_rows",
    "gradient_checkpointing", "recipe", "processing_class", "objectives",
]  # fmt: skip
OUTPUTS: list[Callable[[int], Any]] = [
    lambda n: [1.0] * n,
    lambda n: [None] * n,
    lambda n: [math.nan] * n,
    lambda n: [math.inf, *[0.0] * (n - 1)],
    lambda n: [1e30] * n,
    lambda n: [1.0] * (n + 1),
    lambda n: [],
    lambda n: None,
    lambda n: "good",
    lambda n: ["good"] * n,
    lambda n: np.linspace(0, 1, n),
    lambda n: torch.linspace(0, 1, n),
    lambda n: [True] * n,
    lambda n: [[1.0]] * n,
    lambda n: [{"a": 1.0}] * n,
    lambda n: {"r0": [0.5] * n},
    lambda n: 1 / 0,
    lambda n: [float(i % 2) for i in range(n)],
    lambda n: (float(i) for i in range(n)),
]
COMMANDS = ["run", "check", "front", "show", "export", "methods", "doctor"]
WORDS = [
    *COMMANDS, "--help", "--set", "--out", "--resume", "auto", "recipe.steps=1", "recipe.steps=x", "nothing=1", "=",
    "--jobs", "0", "-1", "1e9", "m00", "--to", "--json", "--svg", "--merge", "--only", "tiny", "", "--", "../..", "/",
    "\0", "é", "--report-to", "mlflow", "runs/none",
]  # fmt: skip


def main() -> None:
    """Run the cases and say what became of them; of those that end otherwise, one of each kind is shown."""
    made = parser("fuzz", "Random studies and command lines.", "  python -m benchmarks.fuzz --studies 200 --lines 100")
    made.add_argument("--studies", type=int, default=10_000, help="generated studies (default: 10,000)")
    made.add_argument("--lines", type=int, default=2_000, help="generated command lines (default: 2,000)")
    made.add_argument("--seed", type=int, default=0, help="of the first case; the others count on (default: 0)")
    options = made.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as where:
        place = Path(where)
        model = write_model(place / "model", 19, hidden=16, layers=1)
        file = write_study(place, model)
        ends: Counter[str] = Counter()
        escaped: dict[str, str] = {}
        kinds = {
            "studies": (options.studies, lambda seed: one_study(seed, model, place / "run")),
            "lines": (options.lines, lambda seed: one_line(seed, file, place)),
        }
        for kind, (count, case) in kinds.items():
            for seed in track(range(options.seed, options.seed + count), kind, disable=options.json):
                try:
                    ends[f"{kind}: {case(seed)}"] += 1
                except Escaped as found:
                    ends[f"{kind}: escaped"] += 1
                    escaped.setdefault(found.where, str(found))
    claims = [Claim(name, count, None, "cases", 1) for name, count in sorted(ends.items())]
    report(claims, options.json, record="fuzz" if options.record else None)
    for where, said in escaped.items():
        print(f"\n{where}\n{said}", file=sys.stderr)
    sys.exit(1 if escaped else 0)


class Escaped(Exception):
    """Something that is neither a run nor a `MoalignError` came out of a case."""

    def __init__(self, case: str, error: BaseException):
        places = traceback.extract_tb(error.__traceback__)
        ours = [place for place in places if "/moalign/" in place.filename] or places
        self.where = f"{type(error).__name__} at {ours[-1].filename.rpartition('/moalign/')[2]}:{ours[-1].lineno}"
        super().__init__(f"{case}\n{''.join(traceback.format_exception(error))}")


def one_study(seed: int, model: Path, out: Path) -> str:
    """Make, check and run a random study; return how it ended, or raise `Escaped`."""
    rng = random.Random(f"study {seed}")
    try:
        with silent():
            random_study(rng, model).run(out, resume="never", on_step=lambda line: None)
        return "a run"
    except MoalignError:
        return "a MoalignError"
    except Exception as error:
        raise Escaped(f"study of seed {seed}", error) from error
    finally:
        shutil.rmtree(out, ignore_errors=True)


def random_study(rng: random.Random, model: Path) -> Study:
    """Return a small study of a random recipe with up to three things about it changed at random."""
    lines = [line | {"completion": "abc", "chosen": "ab", "rejected": "c"} for line in prompts(48)]
    names = [f"r{i}" for i in range(rng.choice([1, 2, 2, 3]))]
    study = Study(
        "fuzz",
        [Objective(name, _reward(rng), bounds=(0, 1) if rng.random() < 0.7 else None) for name in names],
        model=str(model),
        train_dataset=lines[:32],
        eval_dataset=lines[32:40],
        test_dataset=lines[40:48],
        recipe=_recipe(rng),
        members=rng.choice([1, 2, 3]),
        reference_point=dict.fromkeys(names, 0.0),
        eval_prompts=2,
    )
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        path = rng.choice(PATHS if rng.random() < 0.6 else FIELDS)
        study = study.replace(**{path: _value(rng, names)})
    return study


def _recipe(rng: random.Random) -> Any:
    small = {"steps": 1, "prompts_per_step": 2, "num_generations": 4, "max_completion_length": 4}
    return RECIPES[rng.choice(sorted(RECIPES))](**small)


def _reward(rng: random.Random) -> Callable[..., Any]:
    give = rng.choice(OUTPUTS) if rng.random() < 0.4 else (lambda n: [rng.random() for _ in range(n)])

    def reward(completions: list[str], **columns: Any) -> Any:
        return give(len(completions))

    return reward


def _value(rng: random.Random, names: list[str]) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: rng.choice(NUMBERS),
        lambda: rng.choice(NUMBERS),
        lambda: rng.choice(NAMES),
        lambda: Linear(rng.choice([0.1, -1.0, math.nan]), 1e-3),
        lambda: PerMember([0.1] * rng.choice([1, 2, 3])),
        lambda: {rng.choice([*names, "other"]): rng.choice([0.0, 1.0, -1.0, math.nan])},
        lambda: [{name: 1 / len(names) for name in names}] * rng.choice([1, 2, 3]),
        lambda: [{"prompt": rng.choice(["abc", "", 5, None, [{"role": "user", "content": "ab"}]])}] * 12,
        lambda: recipes.grpo(),
    ]
    return rng.choice(kinds)()


def write_study(place: Path, model: Path) -> Path:
    """Write a study file for the command lines."""
    file = place / "tiny.py"
    file.write_text(
        "from moalign import Objective, Study, recipes\n\n\n"
        "def short(completions, **columns):\n    return [1 / (1 + len(text)) for text in completions]\n\n\n"
        f"data = [{{'prompt': a + b + c}} for a in 'abcd' for b in 'abcd' for c in 'abcd']\n"
        f"tiny = Study('tiny', [Objective('short', short)], model={str(model)!r}, train_dataset=data, members=1,\n"
        "             recipe=recipes.grpo(steps=1, prompts_per_step=1, num_generations=2, max_completion_length=2),\n"
        "             reference_point={'short': 0.0}, eval_prompts=1)\n",
        encoding="utf-8",
    )
    return file


def one_line(seed: int, file: Path, place: Path) -> str:
    """Run a random command line in this process; return its exit status in words, or raise `Escaped`."""
    from moalign.cli import main as command

    rng = random.Random(f"line {seed}")
    words = [rng.choice([*WORDS, str(file), str(file), str(place / "out" / "tiny")]) for _ in range(rng.randint(0, 5))]
    if rng.random() < 0.8:
        words.insert(0, rng.choice(COMMANDS))
    try:
        with silent(), contextlib.chdir(place), patch.object(sys, "argv", ["moalign", *words]):
            command()
        return "exit 0"
    except SystemExit as end:
        return "exit 0" if not end.code else f"exit {end.code}" if isinstance(end.code, int) else "a message"
    except BaseException as error:
        raise Escaped(f"line of seed {seed}: {words}", error) from error


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep what a case prints to itself."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    main()
