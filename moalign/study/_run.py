"""Run a study: begin or take up its directory, load, train, and value what was trained."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moalign.errors import MoalignError, RunError
from moalign.fronts import Front
from moalign.records import Policy, State
from moalign.runs import RunDirectory, write_json
from moalign.study._assemble import Assembled, assemble
from moalign.study._progress import Progress
from moalign.study._value import value
from moalign.training.loop import initial_state, train
from moalign.training.recipe import knobs
from moalign.training.session import Session, resume_from
from moalign.training.stopping import Stopping

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
    finished = _finished(study, directory)
    if finished is not None and resume != "never":
        return finished
    study.check(directory.path)
    with directory, Stopping() as stopping:
        existed = directory.create(study.spec(), resume=resume)
        try:
            made = assemble(study)
        except MoalignError:
            if not existed:
                directory.discard()  # nothing has begun: the mended study may have the place
            raise
        with made.scorer, Progress(study, directory, report_to=report_to, callbacks=callbacks, on_step=on_step) as bars:
            same_data(directory, made.fingerprints)
            if study.eval_dataset is None:
                write_json(directory.path / "splits.json", made.splits)
            stopping.leave()
            policy, state = _train(study, made, directory, bars, stopping)
            return value(study, made, policy, state, directory, bars, stopping)


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
    study: "Study", made: Assembled, directory: RunDirectory, progress: Progress, stopping: Stopping
) -> tuple[Policy, State]:
    recipe, policy = study.recipe, made.policy
    session = Session(
        objectives=made.trained,
        setting=made.setting,
        directory=directory,
        save_steps=study.save_steps,
        save_total_limit=study.save_total_limit,
        save_rollouts=study.save_rollouts,
        stopping=stopping,
        on_step=progress.step,
        on_save=progress.saved,
    )
    saved = directory.latest_checkpoint()
    if saved is None:
        state = initial_state(recipe, policy, made.preferences, made.setting, knobs(recipe, len(policy.members)))
    else:
        session.start, state = saved, resume_from(policy, directory.load_state(saved))
    directory.truncate_metrics(session.start)
    progress.training(session.start, recipe.steps)
    policy, state = train(session, recipe, policy, made.train, state)
    if saved != recipe.steps:
        session.save(recipe.steps, policy, state)
    return policy, state
