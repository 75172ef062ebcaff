"""Run a study: train, save the members, value them on dev and test prompts, write the front."""

import contextlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from moalign.errors import MoalignError, RunError
from moalign.evaluation import Evaluation, evaluate
from moalign.fronts import Front, build_front
from moalign.records import Policy, State
from moalign.runs import RunDirectory
from moalign.runs.atomic import saying
from moalign.study._assemble import Assembled, assemble
from moalign.study._progress import Progress
from moalign.training.gather import gather_state
from moalign.training.loop import initial_state, train
from moalign.training.recipe import knobs, valued_at
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
    study.check(directory.path)
    with directory, Stopping() as stopping:
        existed = directory.create(study.spec(), resume=resume)
        if directory.status["state"] == "finished":
            return Front.from_json(directory.front_path)
        try:
            made = assemble(study)
        except MoalignError:
            if not existed:
                directory.discard()  # nothing has begun: the mended study may have the place
            raise
        with made.scorer, Progress(study, directory, report_to=report_to, callbacks=callbacks, on_step=on_step) as bars:
            same_data(directory, made.fingerprints)
            stopping.leave()
            policy, state = _train(study, made, directory, bars, stopping)
            return _value(study, made, policy, state, directory, bars, stopping)


def same_data(directory: RunDirectory, fingerprints: dict[str, str]) -> None:
    """Refuse to go on with data other than what the run began with; warn when libraries have changed."""
    status, versions = directory.status, installed()
    known = status.get("data")
    for name, before in status.get("versions", {}).items():
        if versions.get(name) != before:
            log.warning("the run began with %s %s and goes on with %s: its numbers may differ from an unbroken run's",
                        name, before, versions.get(name))  # fmt: skip
    if known is None:
        directory.set_status("training", data=fingerprints, versions=versions)
    elif known != fingerprints:
        changed = ", ".join(name for name, value in fingerprints.items() if known.get(name) != value)
        raise RunError(f"`{directory.path}` was begun with other {changed} prompts; choose another directory.")


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
        state = initial_state(recipe, policy, made.preferences, made.setting, knobs(recipe, study.members))
    else:
        session.start, state = saved, resume_from(policy, directory.load_state(saved))
    directory.truncate_metrics(session.start)
    progress.training(session.start, recipe.steps)
    policy, state = train(session, recipe, policy, made.train, state)
    if saved != recipe.steps:
        session.save(recipe.steps, policy, state)
    return policy, state


def _value(
    study: "Study",
    made: Assembled,
    policy: Policy,
    state: State,
    directory: RunDirectory,
    progress: Progress,
    stopping: Stopping,
) -> Front:
    """Value the offered behaviours on dev, then on test prompts, and build the front."""
    going, stopped = _drop_stopped(policy, state)
    preferences = state["weighting"].get("preference", made.preferences)[going]  # breeding may have rewritten them
    order = [made.trained.index(objective) for objective in study.trained()]  # people see their own order
    offered, wishes, kinds = study.recipe.offer(policy, preferences[:, order])
    paths = {}
    for name in offered.members:
        paths[name] = _saved(offered, name, directory.point_path(name))
        stopping.leave()
    recipe = study.recipe

    def valued(done: int, total: int) -> None:
        progress.valued(done, total)
        stopping.leave()

    evaluations: dict[str, Evaluation] = {}
    for which, env in (("dev", made.dev), ("test", made.test)):
        progress.valuing(which)
        evaluations[which] = evaluate(
            offered,
            env,
            prompts=study.eval_prompts,
            temperature=valued_at(recipe, gather_state(state["knobs"], going)),
            max_new_tokens=recipe.max_completion_length,
            seed=study.seed,
            split=which,
            on_progress=valued,
        )
    front = build_front(
        evaluations["dev"],
        evaluations["test"],
        objectives=study.objectives,
        preferences=wishes,
        weights=_last_weights(study, directory, offered.members),
        kinds=kinds,
        step=recipe.steps,
        seed=study.seed,
        reference_point=study.reference_point,
        paths=paths,
    )
    front = replace(front, stopped=stopped)
    front.save(directory.front_path)
    facts = {name: value for name, value in directory.status.items() if name != "state"}
    directory.set_status("finished", **{**facts, "steps": recipe.steps})
    progress.valued_all(front)
    return front


def _drop_stopped(policy: Policy, state: State) -> tuple[list[int], tuple[str, ...]]:
    """Take members that were stopped out of the policy; return where the others stood, and the stopped ones' names."""
    active = state["update"].get("active", torch.ones(len(policy.members), dtype=torch.bool))
    going = active.nonzero().flatten().tolist()
    stopped = tuple(name for k, name in enumerate(policy.members) if k not in going)
    if stopped:
        log.warning("%s stopped in training and will not be in the front", ", ".join(stopped))
        policy.gather(going, [policy.members[k] for k in going])
    return going, stopped


def _saved(policy: Policy, name: str, path: Path) -> Path:
    """Save a behaviour; a kill in the middle leaves nothing that looks finished."""
    if not path.exists():
        partial = path.with_name(f".{path.name}.writing")
        with saying(path):
            shutil.rmtree(partial, ignore_errors=True)
            try:
                policy.save(name, partial)
            except SafetensorError as error:  # its I/O errors are not OSErrors
                raise OSError(str(error)) from error
            partial.rename(path)
    return path


def _last_weights(
    study: "Study", directory: RunDirectory, members: Sequence[str]
) -> Float[Tensor, "member objective"] | None:
    """Return the weights of the last step, or None where the valued behaviours are not the members."""
    records = directory.read_metrics()
    if not records or not set(members) <= set(records[-1]["members"]):
        return None
    index = [records[-1]["members"].index(name) for name in members]
    return torch.tensor([records[-1][f"weights/{objective.name}"] for objective in study.trained()]).T[index]
