"""Which runs the page needs, in the order in which they are worth most."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results.arms import ARMS, BASELINE, GUIDED, MEAN, WANDER
from benchmarks.results.records import Record, read

SCALES = (0.5, 1.0, 2.0)  # tuning: one run each of the learning rate times these, for every arm
TUNING_SEED = 1000
FIRST = 10  # seeds before it were seen while things were chosen
SEEDS, MORE_SEEDS = 5, 10  # of every arm; of the guided arms, the baseline and the controls
MORE = (GUIDED, "hypervolume-chebyshev", BASELINE, MEAN, WANDER)
TASKS = ("arithmetic", "replies", "bandit")


@dataclass(frozen=True)
class Job:
    """One run: of an arm on a task, for the table (`scale` None: the tuned one) or for tuning."""

    task: str
    arm: str
    seed: int
    scale: float | None = None

    @property
    def file(self) -> str:
        name = f"seed-{self.seed:02d}" if self.scale is None else f"trial-{self.scale:g}"
        return f"{self.task}/{self.arm}/{name}.json"


def jobs(tasks: Sequence[str] = TASKS, *, seeds: int = SEEDS, more: int = MORE_SEEDS) -> Iterator[Job]:
    """Yield every run: per task the trials, then seed after seed all arms, so that a page can be read early."""
    for task in tasks:
        for arm in ARMS.values():
            if arm.tuned_as is None:
                yield from (Job(task, arm.name, TUNING_SEED, scale) for scale in SCALES)
        for seed in range(FIRST, FIRST + seeds):
            yield from (Job(task, arm, seed) for arm in ARMS)
    for task in tasks:
        for seed in range(FIRST + seeds, FIRST + more):
            yield from (Job(task, arm, seed) for arm in MORE)


def needs(job: Job, root: Path) -> list[Job] | None:
    """Return the jobs that must be done before this one, of those not done yet; None: they cannot be told yet."""
    arm = ARMS[job.arm]
    before = [] if job.scale is not None else trials(job.task, arm.tuned_as or arm.name)
    if arm.follows is not None:
        before += trials(job.task, arm.follows)
        if all((root / trial.file).exists() for trial in before):
            before.append(followed(job, root))
    return [other for other in before if not (root / other.file).exists()]


def trials(task: str, arm: str) -> list[Job]:
    return [Job(task, arm, TUNING_SEED, scale) for scale in SCALES]


def tuned(task: str, arm: str, root: Path) -> float:
    """Return the scale whose trial had the largest hypervolume on dev; ties go to the smaller."""
    return max(SCALES, key=lambda scale: _read(Job(task, arm, TUNING_SEED, scale), root).hypervolume_dev)


def followed(job: Job, root: Path) -> Job:
    """Return the run whose weights a control takes: the guided arm's at the same seed, at its own tuned scale."""
    guided = ARMS[job.arm].follows
    assert guided is not None, job
    if job.scale is None:
        return Job(job.task, guided, job.seed)
    return Job(job.task, guided, TUNING_SEED, tuned(job.task, guided, root))


def _read(job: Job, root: Path) -> Record:
    return read(root / job.file)
