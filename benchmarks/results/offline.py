"""What offline arms learn from: completions of the base model, and pairs of them judged by one objective."""

import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from benchmarks.results.tasks import Lines, Task
from moalign.rollouts.collect import ask
from moalign.runs.atomic import write_bytes
from moalign.study._assemble import assemble

ROOT = Path(__file__).parents[2]
PROMPTS, GENERATIONS = 64, 8  # of one wave
SCORED, LEVELS = 512, 9


def examples(task: Task) -> Lines:
    """Return as many completions of training prompts as the online arms sample, with the columns that rewards read."""
    return [{**line["columns"], "completion": line["completion"]} for line in _sampled(task)]


def pairs(task: Task) -> Lines:
    """Return pairs of completions of the same prompt; the better one is chosen with probability sigmoid(difference).

    That is the Bradley–Terry model in the reward's own unit, which MODPO takes its pairs to come from.
    """
    rng, out = random.Random(f"pairs of {task.name}"), []
    lines = _sampled(task)
    for one, other in zip(lines[::2], lines[1::2]):
        better = 1 / (1 + math.exp(other["reward"] - one["reward"])) > rng.random()
        chosen, rejected = (one, other) if better else (other, one)
        out.append({**one["columns"], "chosen": chosen["completion"], "rejected": rejected["completion"]})
    return out


def rewards_seen(task: Task) -> dict[str, int]:
    """Return how many of the samples have which rewards, in whole levels from 0, the lowest seen, to `LEVELS`."""
    made = assemble(task.study.replace(members=1, seed=0))
    lines, values = _sampled(task), []
    trained = [made.scorer.names.index(objective.name) for objective in made.trained]
    with made.scorer:
        for start in range(0, len(lines), SCORED):
            part = lines[start : start + SCORED]
            columns = {name: [line["columns"][name] for line in part] for name in part[0]["columns"]}
            texts = [line["completion"] for line in part]
            rows = made.train.encode(texts)
            ids = [line[real].tolist() for line, real in zip(rows.tokens, rows.completion_mask)]
            values.append(made.scorer.score(columns["prompt"], texts, ids, columns).values[:, trained])
    found = torch.cat(values)
    low, high = found.amin(dim=0), found.amax(dim=0)
    levels = (LEVELS * (found - low) / (high - low).clamp(min=1e-12)).round().int().tolist()
    return dict(sorted(Counter(",".join(map(str, line)) for line in levels).items()))


def _sampled(task: Task) -> list[dict[str, Any]]:
    """Return the samples, made once for the models that are there; neighbours answer the same prompt."""
    file = ROOT / "runs" / "offline" / f"{task.name}-{task.models()}{'-smoke' if task.smoke else ''}.json"
    if not file.exists():
        own = task.study.recipe
        count = own.steps * own.prompts_per_step * own.num_generations * task.study.members
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, json.dumps(_sample(task, count)).encode())
    return json.loads(file.read_text(encoding="utf-8"))


def _sample(task: Task, count: int) -> list[dict[str, Any]]:
    made = assemble(task.study.replace(members=1, seed=0))
    objective = made.train.names.index(task.expressed)
    names = [name for name in made.train.data.columns if name != "completion"]
    out: list[dict[str, Any]] = []
    with made.scorer:
        for step in range(math.ceil(count / (PROMPTS * GENERATIONS))):
            env = made.train.at(step)
            length = task.study.recipe.max_completion_length
            rows = ask(
                made.policy, env.prompts(PROMPTS), stream=env.stream("rollout"), n=GENERATIONS,
                max_new_tokens=length, temperature=1.0,
            )  # fmt: skip
            rows = env.score(rows)
            assert rows.rewards is not None
            for i, reward in enumerate(rows.rewards.values[:, objective].tolist()):
                columns = {name: rows.columns[name][i] for name in names}
                out.append({"columns": columns, "completion": rows.columns["completion"][i], "reward": reward})
    return out[:count]
