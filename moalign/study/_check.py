"""Check a study before anything is trained: every error at once, and what the run will take."""

import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moalign.errors import ConfigError, RunError, StudyError
from moalign.optimizers.simplex import Simplex
from moalign.runs import RunDirectory
from moalign.study._disk import kept, needed
from moalign.study._preferences import wished_for
from moalign.study._problems import MISSING, find_problems
from moalign.study._sizes import available, fitting, memory, resident
from moalign.study._suggest import suggested
from moalign.study._work import Work, work_of

if TYPE_CHECKING:
    from moalign.study._study import Study
    from moalign.study._time import Seconds

LIBRARIES = resident()  # bytes, as this module is loaded

log = logging.getLogger("moalign")


@dataclass(frozen=True)
class Plan:
    """What a run will take; worked out when it is asked for, and only `seconds` measures anything.

    On a CPU, memory is the process's peak with everything in it, `held` by libraries before a run among it; on a GPU it
    is what tensors take there. Time leaves out loading, and the rewards' own, which nobody can know.
    """

    study: "Study"
    mean_length: float | int | None = None  # tokens of an average completion; None: half of the most

    @functools.cached_property
    def work(self) -> Work:
        """The numbers that everything here follows from."""
        return work_of(self.study, self.mean_length)

    @property
    def steps(self) -> int:
        return self.work.steps

    @property
    def members(self) -> int:
        """How many are trained."""
        return self.work.members

    @property
    def rollouts(self) -> int:
        """Completions to train on."""
        return self.work.steps * self.work.members * self.work.rows

    @property
    def evaluations(self) -> int:
        """Completions sampled to value what is offered."""
        return sum(self.work.valued) * self.work.behaviours

    @property
    def model_bytes(self) -> int:
        """Parameters of the base in memory, counted, not estimated."""
        return self.work.parameters * self.work.itemsize

    @property
    def held(self) -> int:
        """Bytes that libraries take before a run begins; 0 on a GPU."""
        return LIBRARIES if self.work.device == "cpu" else 0

    @property
    def memory_bytes(self) -> int:
        """The peak."""
        return memory(self.work, held=self.held)

    @property
    def disk_bytes(self) -> int:
        """The most that the run directory holds at once, with room to spare and a report."""
        return needed(self.work)

    @property
    def kept_bytes(self) -> int:
        """What it holds at the end, without a report."""
        return kept(self.work)

    @functools.cached_property
    def available_bytes(self) -> int | None:
        """Memory that the run could take now; None where the system does not say."""
        return available()

    @property
    def members_that_fit(self) -> int | None:
        """Members that could be trained in that memory, even if every completion takes all its tokens."""
        return None if self.available_bytes is None else fitting(self.work, self.available_bytes, held=self.held)

    @functools.cached_property
    def seconds(self) -> "Seconds":
        """How long the run takes on this machine, which is measured now, in a second or two."""
        from moalign.study._time import measured, seconds

        return seconds(self.work, measured(self.work))

    def __str__(self) -> str:
        from moalign.study._time import threads

        work, took = self.work, self.seconds
        held = f", {_size(self.held)} of it libraries" if self.held else ""
        where = "this GPU" if work.device == "cuda" else f"this machine, {threads()} thread{'s' * (threads() > 1)}"
        lines = [
            f"{self.members} members × {self.steps} steps: {self.rollouts:,} completions to train on, "
            f"{self.evaluations:,} to value them",
            f"  memory  about {_size(self.memory_bytes)}{held}{self._room()}",
            f"  disk    about {_size(self.kept_bytes)} at the end; {_size(self.disk_bytes)} must be free",
            f"  time    about {_time(took.total)}: sampling {_time(took.sampling)}, updating {_time(took.updating)}, "
            f"valuing {_time(took.valuing)}; the rewards' own time comes on top",
            f"  if an average completion takes {work.mean:.3g} of {work.limit} tokens; layers of this model's shapes "
            f"were timed on {where}",
        ]
        return "\n".join(lines)

    def _room(self) -> str:
        many, bytes = self.members_that_fit, self.available_bytes
        if many is None or bytes is None:
            return ""
        if many == 0:
            return f"; not even one member fits in {_size(bytes)}: set `micro_rows` and `sample_rows`, or lower them"
        return f"; {many} member{'s' * (many > 1)} would fit in {_size(bytes)}, with completions of any length"


def check(study: "Study", output_dir: str | Path | None = None, *, mean_length: float | int | None = None) -> Plan:
    """Return the plan of a study; raise `StudyError` with every problem found, an occupied directory among them."""
    found = find_problems(study)
    taken: RunError | None = None
    if output_dir is not None:
        try:
            RunDirectory(output_dir).refuse_other(study.spec())
        except RunError as error:
            taken = error
    if taken is not None and not found:
        raise taken
    if found == [MISSING] and taken is None:  # everything else is there to show where the base model stands
        found = [f"{MISSING} {suggested(study)}"]
    if found:
        raise StudyError([*found, *([] if taken is None else [str(taken)])])
    limit = study.recipe.max_completion_length
    if mean_length is not None and not 1 <= mean_length <= limit:
        raise ConfigError(f"`mean_length` must be from 1 to `max_completion_length`, {limit}, got {mean_length!r}.")
    wishes = wished_for(study.objectives, study.recipe)
    if study.members < len(wishes) and isinstance(study.preferences, str | Simplex):
        log.warning("%d members cannot each wish for one of %d objectives", study.members, len(wishes))
    return Plan(study, mean_length)


def _size(bytes: int) -> str:
    return f"{bytes / 2**30:,.1f} GiB" if bytes >= 2**30 else f"{bytes / 2**20:,.0f} MiB"


def _time(seconds: float) -> str:
    """Return a duration in the unit that suits it.

    >>> [_time(x) for x in (3.2, 200.0, 9000.0)]
    ['3 s', '3.3 min', '2.5 h']
    """
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1g} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:,.1f} h"
