"""What a run takes on disk."""

import math
from typing import TYPE_CHECKING

from moalign.study._work import Work

if TYPE_CHECKING:
    from moalign.study._study import Study

CHARACTERS = 4  # of a token, at most for most texts; with one of them the plan is near on the project's own tasks
REPORT = 8 * 2**20  # report.html, which holds its plotting library


def kept(work: Work, *, characters: int = 1) -> int:
    """Return the bytes of a finished run's directory: checkpoints, points, metrics, rollouts and the front."""
    line = 700 + work.members * (60 + 40 * work.objectives)
    rollouts = 6144 + work.members * work.kept_groups * work.group * (20 + characters * work.limit)
    front = work.behaviours * (1100 + 250 * work.objectives) + 6 * work.behaviours * 4 * work.prompt
    return (
        work.checkpoints * _checkpoint(work)
        + work.behaviours * (work.member * _widening(work) + work.point_files + 6144)
        + work.steps * line
        + math.ceil(work.steps / work.save_steps) * rollouts
        + front
        + 4096
    )


def needed(work: Work) -> int:
    """Return the most that a run holds at once: one checkpoint more, as the oldest goes when the new one is whole."""
    return kept(work, characters=CHARACTERS) + _checkpoint(work) + REPORT


def _checkpoint(work: Work) -> int:
    return work.copies * work.members * work.member + 2048


def _widening(work: Work) -> int:
    """Soups are adapters with the rank of all members together."""
    return work.members if work.behaviours != work.members and not work.full and work.members > 1 else 1


def way_out(study: "Study") -> str:
    """Return what a person can do when the disk is too small."""
    return (
        f"make room, choose another directory, or lower `save_total_limit` (it is {study.save_total_limit}) "
        f"or `save_rollouts` ({study.save_rollouts})."
    )
