"""What a run takes on disk."""

from typing import TYPE_CHECKING

from moalign.records import Need
from moalign.training.recipe import trained_members

if TYPE_CHECKING:
    from moalign.study._study import Study

COPIES = 3  # of a member's parameters in a checkpoint: their own, and the optimizer's two moments
CHARACTERS = 4  # of a token
REPORT = 8 * 2**20  # report.html, which holds its plotting library, and front.json


def disk_bytes(study: "Study", *, member: int, vocabulary: int) -> int:
    """Estimate the most that a run holds at once; `member` is the size of one member's parameters.

    Checkpoints (one more than `save_total_limit`: the oldest goes when the new one is whole), a directory for each
    point with the tokenizer, the kept rollouts, and a line for each step.
    """
    recipe = study.recipe
    members, objectives = trained_members(recipe, study.members), len(study.trained())
    copies = COPIES + (Need.PREVIOUS in recipe.needs)
    checkpoints = (study.save_total_limit + 1) * (copies * members * member + 2**16)
    offered = getattr(recipe.offer, "count", None)  # soups, whose adapters have the rank of all members together
    points = study.members * member if offered is None else offered * members * member
    tokenizers = 100 * vocabulary * (study.members if offered is None else offered)
    rows = study.save_rollouts * members * recipe.num_generations
    row = 100 + 20 * objectives + CHARACTERS * recipe.max_completion_length
    rollouts = (recipe.steps // study.save_steps + 1) * (rows * row + 2**14) if rows else 0
    lines = recipe.steps * (300 + 10 * members * (4 * objectives + 12))
    return checkpoints + points + tokenizers + rollouts + lines + REPORT


def way_out(study: "Study") -> str:
    """Return what a person can do when the disk is too small."""
    return (
        f"make room, choose another directory, or lower `save_total_limit` (it is {study.save_total_limit}) "
        f"or `save_rollouts` ({study.save_rollouts})."
    )
