"""docs/results.md: every figure on it is computed from the records, none is typed."""

import statistics as plain
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.results import measures, mechanisms, plan
from benchmarks.results.arms import ARMS, BASELINE, GUIDED, MEAN, WANDER
from benchmarks.results.figure import curves, figure
from benchmarks.results.records import Record, read_all
from benchmarks.results.speed import speed, table
from benchmarks.results.statistics import (
    Interval,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
    sign_flip,
)
from benchmarks.results.tasks import task_called
from moalign.runs import read_json

FINDINGS = Path(__file__).with_name("findings.md")  # prose: why, in words
QUESTIONS = {
    BASELINE: "fixed linear weights",
    "linear-raw": "the same preferences as fixed weights on the guided arm's own credit",
    MEAN: "its own weights' time-mean, fixed (which only a guided run can tell)",
    WANDER: "random steps of the same lengths",
    "shuffled": "its own weights in another order",
    "linear-4x": "fixed linear weights with four times the members and rollouts",
}
DOES_NOT_SHOW = """# Does moving the weights beat fixed ones?

**What this page does not show.** Nothing here is about pretrained models. The models have at most a million
parameters, were trained from scratch within a minute, and their tasks are small and synthetic. What carries over to a
language model of use is not known; what is shown is how the methods behave when everything can be measured.
"""


def write(root: Path, *, tasks: Sequence[str]) -> Path:
    """Write the page beside the directory of records, with its figures inside; return its path."""
    every = read_all(root)
    final = {task: [r for r in every if r.task == task and r.seed != plan.TUNING_SEED] for task in tasks}
    trials = [r for r in every if r.seed == plan.TUNING_SEED]
    final = {task: found for task, found in final.items() if found}
    optimum = {}
    for task, found in final.items():
        known = task_called(task).optimum
        if known is not None:
            optimum[task] = known(max(len(r.kept) for r in found))
    (root / "hypervolume.svg").write_text(figure(final, optimum), encoding="utf-8")
    page = root.with_suffix(".md")
    parts = [DOES_NOT_SHOW, _smoke(every), *(_answer(task, found) for task, found in final.items())]
    parts.append(f"![Hypervolume of every run, by arm and task]({root.name}/hypervolume.svg)")
    parts.append(
        "One dot is one seed; the bar is the interquartile mean with its 95 % bootstrap interval. Larger is better."
    )
    parts += [_table(task, found) for task, found in final.items()]
    parts += [_rollouts(root, task, found) for task, found in final.items() if task == plan.TASKS[0]]
    parts += [_flattered(found) for task, found in final.items() if task == "replies"]
    parts += [_apart(final), _asked(root, final)]
    if FINDINGS.exists():
        parts.append(FINDINGS.read_text(encoding="utf-8"))
    parts += [_arms(), _rules(), _tuning(trials), _made(every), speed(root / "benchmarks")]
    page.write_text("\n\n".join(part.strip() for part in parts if part.strip()) + "\n", encoding="utf-8")
    return page


def _smoke(records: Sequence[Record]) -> str:
    return "**These are smoke runs: their figures mean nothing.**" if any(r.smoke for r in records) else ""


def _of(records: Sequence[Record], arm: str) -> list[Record]:
    return sorted((r for r in records if r.arm == arm), key=lambda r: r.seed)


def _paired(records: Sequence[Record], ours: str, theirs: str) -> tuple[list[float], list[float]]:
    """Return the hypervolumes of two arms at the seeds that both have."""
    a, b = ({r.seed: r.hypervolume for r in _of(records, arm)} for arm in (ours, theirs))
    both = sorted(set(a) & set(b))
    return [a[seed] for seed in both], [b[seed] for seed in both]


def _answer(task: str, records: Sequence[Record]) -> str:
    """One sentence per question: does the guided arm beat the baseline, the controls and more of the same?"""
    lines = []
    for other, what in QUESTIONS.items():
        ours, theirs = _paired(records, GUIDED, other)
        if not ours:
            continue
        gain, wins = paired_difference(ours, theirs), sum(a > b for a, b in zip(ours, theirs))
        p = sign_flip([a - b for a, b in zip(ours, theirs)])
        apart = p < 0.05 and not gain.low <= 0 <= gain.high
        verdict = "is not told apart from" if not apart else "beats" if gain.value > 0 else "loses to"
        lines.append(
            f"- hypervolume-guided weights **{verdict}** {what}: {_signed(gain)} in hypervolume, better on {wins} of "
            f"{len(ours)} paired seeds (sign-flip p = {p:.3f})"
        )
    return f"**{task}** ({task_called(task).what})\n" + "\n".join(lines) if lines else ""


def _table(task: str, records: Sequence[Record]) -> str:
    front = measures.pooled(records, plan.SEEDS)
    base = [r.hypervolume for r in _of(records, BASELINE)]
    head = (
        "arm",
        "seeds",
        "hypervolume",
        "P(beats baseline)",
        "IGD+",
        "expected utility",
        "size",
        "preference ↔ outcome",
        "tokens",
        "reward calls",
        "seconds",
        "peak MB",
    )
    rows = []
    for arm in ARMS:
        found = _of(records, arm)
        if not found:
            rows.append([arm, "0", *["not run"] + [""] * (len(head) - 3)])
            continue
        better = probability_of_improvement([r.hypervolume for r in found], base) if base and arm != BASELINE else None
        rows.append([
            arm,
            str(len(found)),
            _interval(interquartile_mean([r.hypervolume for r in found])),
            "" if better is None else _interval(better, 2),
            f"{_mean(found, lambda r: measures.distance(r, front)):.3f}",
            f"{_mean(found, measures.utility):.3f}",
            f"{_mean(found, measures.size):.1f}",
            _number(_mean(found, measures.obedience)),
            f"{_mean(found, lambda r: r.tokens) / 1000:.0f}k",
            f"{_mean(found, lambda r: r.reward_calls) / 1000:.1f}k",
            f"{_mean(found, lambda r: r.cpu_seconds):.0f}",
            f"{_mean(found, lambda r: r.peak_mb):.0f}",
        ])  # fmt: skip
    return f"## {task}\n{table(head, rows)}"


def _rollouts(root: Path, task: str, records: Sequence[Record]) -> str:
    """The curve and the ratio: rollouts until the guided arm stands where the baseline ends, seed by seed."""
    drawn = curves(records, (GUIDED, BASELINE))
    if not drawn:
        return ""
    (root / "curves.svg").write_text(drawn, encoding="utf-8")
    base = {r.seed: r for r in _of(records, BASELINE) if r.curve}
    lines = [
        f"## Rollouts to the baseline's final hypervolume ({task})",
        f"![Training curves]({root.name}/curves.svg)",
    ]
    head = ("arm", "paired seeds", "arrived", "share of the baseline's rollouts: median", "least", "most")
    rows = []
    for arm in (GUIDED, "hypervolume-chebyshev", MEAN, "linear-raw"):
        shares = []
        for run in _of(records, arm):
            if run.seed in base and run.curve:
                level = base[run.seed].curve[-1][1]
                shares.append(measures.rollouts_to(run, level) / measures.rollouts_to(base[run.seed], level))
        if shares:
            arrived = sum(x < float("inf") for x in shares)
            ends = [_share(x) for x in (plain.median(shares), min(shares), max(shares))]
            rows.append([arm, str(len(shares)), str(arrived), *ends])
    lines.append(table(head, rows))
    lines.append(
        "The curve is the hypervolume of all members' running mean rewards on the prompts they train on; it chooses "
        "nothing. The level is its last value in the baseline's run of the same seed; both are asked from when on they "
        "stay at it."
    )
    return "\n\n".join(lines)


def _share(x: float) -> str:
    return "never" if x == float("inf") else f"{x:.2f}"


def _flattered(records: Sequence[Record]) -> str:
    """How far the learned reward is ahead of what it was learned from, at the points kept."""
    rows = []
    for arm in ARMS:
        gaps = [measures.flattered(r, "courtesy", "true_courtesy") for r in _of(records, arm) if r.kept]
        if gaps:
            rows.append([arm, _interval(interquartile_mean(gaps))])
    what = "Learned courtesy minus true courtesy, mean of the kept points."
    return f"## What the learned reward flatters (replies)\n\n{what}\n\n{table(('arm', 'difference'), rows)}"


def _apart(final: Mapping[str, Sequence[Record]]) -> str:
    """How many different models a front has."""
    rows = []
    for arm in ARMS:
        found = {task: _of(records, arm) for task, records in final.items()}
        if any(found.values()):
            rows.append([arm, *(f"{_mean(runs, mechanisms.apart):.1f}" if runs else "" for runs in found.values())])
    what = f"Kept points that are at least {mechanisms.GAP:g} of the range from each other in some objective, mean."
    return f"## Points that stand apart\n\n{what}\n\n{table(('arm', *final), rows)}"


def _asked(root: Path, final: Mapping[str, Sequence[Record]]) -> str:
    """Whether what RiC is asked for ever occurred in what it learned from."""
    rows = []
    for task, records in final.items():
        file = root / task / mechanisms.SEEN
        for arm in mechanisms.FLOORS if file.exists() else ():
            shares = [mechanisms.seen_share(r, read_json(file)) for r in _of(records, arm)]
            if shares:
                rows.append([task, arm, f"{100 * plain.fmean(shares):.2f} %"])
    what = (
        "Samples of the base model whose rewards are all within one level of nine of what a point asks for: the median "
        "point's share, mean over runs."
    )
    return f"## What rewards in context ask for\n\n{what}\n\n{table(('task', 'arm', 'share'), rows)}" if rows else ""


def _arms() -> str:
    return "## The arms\n" + "\n".join(f"- `{arm.name}`: {arm.what}" for arm in ARMS.values())


def _rules() -> str:
    scales = ", ".join(f"{scale:g}" for scale in plan.SCALES)
    return f"""## How it was made
- Reference points stand in the study files (`studies/`), written before the first run. A front has at most as many
  points as the study has members, chosen on 1,024 dev prompts, greedily by hypervolume, and valued on 4,096 other
  prompts. Larger is better in every column but IGD+ and the costs.
- Seeds are paired: where members and prompts of a step are as many, the same seed draws the same prompts and starts
  members from the same parameters. A verdict needs both a 95 % interval without 0 and an exact sign-flip test below
  0.05, which five seeds can never give. Intervals are percentile bootstraps of the interquartile mean over seeds;
  P(beats baseline) is over all pairs of runs.
- IGD+ is the distance to the non-dominated points of all arms' fronts together. Expected utility is the mean of the
  best point's weighted sum over 1,000 preferences drawn evenly. Preference ↔ outcome is Spearman's correlation of a
  member's preference and its value, over members, mean over objectives: guided members are free to swap places.
- Tokens and reward calls are those of training, valuing excluded; data that offline arms read counts as tokens and
  reward calls, each text once. Seconds are processor seconds of the whole run on one thread, valuing included.
- Offline arms learn from samples of the base model on training prompts: RiC from as many completions as the others
  sample, MODPO from pairs of them, chosen with probability sigmoid(difference of the expressed reward); as all its
  members share the pairs, it reads an eighth as many texts. Soups and prefixes cost no training, so twice as many are
  valued on dev.
- Seeds begin at {plan.FIRST}: those before were seen while things were chosen. A run whose members all diverge
  counts 0.
- Tuning: {len(plan.SCALES)} runs for every arm on seed {plan.TUNING_SEED}, which is not in the tables: the task's
  learning rate (RiC's own: 5e-3 falling to 5e-4) times {scales}; the one with the largest hypervolume on dev is
  used. Before these runs were chosen: the guided controller's constants, on arithmetic, seed 1; the bandit's number
  of steps, on the guided arm, seeds 1 and 2; RiC's rate and the floor of `ric-floor`, on arithmetic, a few runs. The
  controller's constants are the library's on every task (the bandit's own study sets a shorter warm-up).
- Everything again: `make results`; it goes on where it stopped. Raw records are in `docs/results`, one file a run."""


def _tuning(trials: Sequence[Record]) -> str:
    if not trials:
        return ""
    rows = []
    for task in dict.fromkeys(r.task for r in trials):
        for arm in ARMS:
            found = {r.scale: r.hypervolume_dev for r in trials if (r.task, r.arm) == (task, arm)}
            values = [found.get(scale, float("nan")) for scale in plan.SCALES]
            if found:
                best = max(found.values())
                rows.append([task, arm, *(f"**{v:.3f}**" if v == best else f"{v:.3f}" for v in values)])
    head = ("task", "arm", *(f"× {scale:g}" for scale in plan.SCALES))
    return f"## Tuning trials\nHypervolume on dev at the task's learning rate times each factor.\n\n{table(head, rows)}"


def _made(records: Sequence[Record]) -> str:
    def all_of(key: str) -> str:
        return ", ".join(dict.fromkeys(str(r.made[key]) for r in records))

    versions = "; ".join(dict.fromkeys(", ".join(f"{k} {v}" for k, v in r.made["versions"].items()) for r in records))
    hours = sum(r.seconds for r in records) / 3600
    return (
        f"## Made by\n{len(records)} runs, {hours:.1f} hours of wall time in all. Commits: {all_of('commit')}. "
        f"Machine: {all_of('machine')}. Dates: {all_of('date')}. {versions}."
    )


def _mean(records: Sequence[Record], of: Callable[[Record], float]) -> float:
    return plain.fmean(of(record) for record in records)


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.2f}"


def _interval(value: Interval, digits: int = 3) -> str:
    ends = "" if value.low != value.low else f" [{value.low:.{digits}f}, {value.high:.{digits}f}]"
    return f"{value.value:.{digits}f}{ends}"


def _signed(value: Interval) -> str:
    ends = "" if value.low != value.low else f" [{value.low:+.3f}, {value.high:+.3f}]"
    return f"{value.value:+.3f}{ends}"
