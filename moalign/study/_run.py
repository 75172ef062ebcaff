"""Run a study: begin or take up its directory, load, train, and value what was trained."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from moalign.errors import MoalignError, RunError, TrainingError
from moalign.fronts import Front
from moalign.records import Policy, State
from moalign.runs import RunDirectory, write_json
from moalign.runs.space import require_room
from moalign.study._assemble import Assembled, assemble
from moalign.study._disk import way_out
from moalign.study._progress import Progress
from moalign.study._value import value
from moalign.training.divided import divided
from moalign.training.gather import gather_state
from moalign.training.loop import initial_state, train
from moalign.training.ranked import session_of
from moalign.training.ranks import Ranks, together
from moalign.training.recipe import knobs, trained_members
from moalign.training.session import resume_from
from moalign.training.shares import cut, light, refuse_idle, take_all
from moalign.training.stopping import Stopping
from moalign.training.told import told

if TYPE_CHECKING:
    from moalign.study._study import Study

LIBRARIES = ("moalign", "torch", "transformers", "peft")

log = logging.getLogger("moalign")


def run(
    study: "Study",
    output_dir: str | Path | None,
    *,
    resume: str,
    report_to: str | Sequence[str],
    callbacks: Sequence[Any],
    on_step: Callable[[dict[str, Any]], None] | None,
) -> Front:
    """See `Study.run`."""
    directory = RunDirectory(Path(output_dir) if output_dir is not None else Path("runs") / study.name)
    with together() as ranks:
        finished = ranks.first(lambda: _finished(study, directory))
        if finished is not None and resume != "never":
            return finished
        ranks.first(lambda: _check(study, directory))
        members = trained_members(study.recipe, study.members)
        refuse_idle(members, study.recipe.prompts_per_step, ranks)
        if not ranks.leads:
            report_to, callbacks, on_step = "none", (), _unseen
        with ranks.teams(members) as ranks, directory, Stopping() as stopping:
            existed = ranks.first(lambda: directory.create(study.spec(), resume=resume))
            try:
                with stopping.at_once():
                    made = assemble(study, ranks)
            except MoalignError:
                if ranks.leads and not existed:
                    directory.discard()  # nothing has begun: the mended study may have the place
                raise
            with (
                made.scorer,
                Progress(study, directory, report_to=report_to, callbacks=callbacks, on_step=on_step) as bars,
            ):
                ranks.first(lambda: _begin(study, directory, made))
                stopping.leave()
                with _room_in_memory(directory):
                    policy, state = _train(study, made, directory, bars, stopping, ranks)
                    return value(study, made, policy, state, directory, bars, stopping, ranks)


def _unseen(record: dict[str, Any]) -> None:
    """Show nothing: the first process does."""


def _check(study: "Study", directory: RunDirectory) -> None:
    plan = study.check(directory.path)
    require_room(directory.path, plan.disk_bytes, way_out(study))


def _begin(study: "Study", directory: RunDirectory, made: Assembled) -> None:
    same_data(directory, made.fingerprints)
    if study.eval_dataset is None:
        write_json(directory.path / "splits.json", made.splits)


def _finished(study: "Study", directory: RunDirectory) -> Front | None:
    """Return the front of a run that is finished, whether or not its model and data are still there."""
    if directory.status["state"] != "finished":
        return None
    with contextlib.suppress(RunError):  # of another study: the check says so, with everything else
        directory.refuse_other(study.spec())
        return Front.from_json(directory.front_path)
    return None


def same_data(directory: RunDirectory, fingerprints: dict[str, str]) -> None:
    """Refuse to go on with another base model or other prompts; warn when libraries have changed."""
    status, versions = directory.status, installed()
    known = status.get("data")
    for name, before in status.get("versions", {}).items():
        if versions.get(name) != before:
            log.warning("the run began with %s %s and goes on with %s: its numbers may differ from an unbroken run's",
                        name, before, versions.get(name))  # fmt: skip
    if known is None:
        directory.set_status("training", data=fingerprints, versions=versions)
    elif known != fingerprints:
        changed = " and ".join(name for name, value in fingerprints.items() if known.get(name) != value)
        raise RunError(f"`{directory.path}` was begun with another {changed}; choose another directory.")


def installed() -> dict[str, str]:
    """Return the versions of the libraries that a run's numbers depend on."""
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _train(
    study: "Study", made: Assembled, directory: RunDirectory, progress: Progress, stopping: Stopping, ranks: Ranks
) -> tuple[Policy, State]:
    """Train this process's members; return all of them."""
    recipe, policy = divided(told(study.recipe, made.trained), ranks), made.policy
    session = session_of(
        ranks,
        stopping,
        objectives=made.trained,
        setting=made.setting,
        directory=directory,
        save_steps=study.save_steps,
        save_total_limit=study.save_total_limit,
        save_rollouts=study.save_rollouts,
        on_step=progress.step,
        on_save=progress.saved,
    )
    saved = ranks.first(directory.latest_checkpoint)
    if saved is None:
        own = list(ranks.share(len(made.preferences)))
        numbers = gather_state(knobs(study.recipe, len(made.preferences)), own)
        state = initial_state(recipe, policy, made.preferences[own], made.setting, numbers)
    else:
        session.start = session.saved = saved
        state = resume_from(policy, cut(ranks.first(lambda: directory.load_state(saved)), ranks))
    ranks.first(lambda: directory.truncate_metrics(session.start))
    progress.training(session.start, recipe.steps)
    if session.start < recipe.steps:
        ranks.first(directory.discard_points)  # of a run whose last checkpoints were damaged since
    policy, state = train(session, recipe, policy, made.train, state)
    if session.saved != recipe.steps:
        session.save(recipe.steps, policy, state)
    return policy, take_all(policy, light(state), ranks)


@contextlib.contextmanager
def _room_in_memory(directory: RunDirectory) -> Iterator[None]:
    """Say what to do when a GPU's memory does not suffice."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the GPU's memory is full: {str(error).partition('. ')[0]}. Set `micro_rows` or `sample_rows`, or lower "
            "them, set `gradient_checkpointing=True`, or train fewer members; `moalign check` says how many fit. "
            f"`{directory.path}` keeps what was saved."
        ) from error
