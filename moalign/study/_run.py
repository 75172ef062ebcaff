"""Run a study: train, save the members, value them on dev and test prompts, write the front."""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import RunError
from moalign.evaluation import Evaluation, evaluate
from moalign.fronts import Front, build_front
from moalign.records import Policy, State
from moalign.runs import RunDirectory
from moalign.study._assemble import Assembled, assemble
from moalign.study._progress import Progress
from moalign.training.loop import initial_state, train
from moalign.training.recipe import knobs
from moalign.training.session import Session, resume_from

if TYPE_CHECKING:
    from moalign.study._study import Study

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
    study.check()
    directory = RunDirectory(Path(output_dir) if output_dir is not None else Path("runs") / study.name)
    with directory:
        directory.create(study.spec(), resume=resume)
        if directory.status["state"] == "finished":
            return Front.from_json(directory.front_path)
        made = assemble(study)
        with made.scorer, Progress(study, directory, report_to=report_to, callbacks=callbacks, on_step=on_step) as bars:
            same_data(directory, made.fingerprints)
            policy, state = _train(study, made, directory, bars)
            return _value(study, made, policy, state, directory, bars)


def same_data(directory: RunDirectory, fingerprints: dict[str, str]) -> None:
    """Refuse to go on with data other than what the run began with."""
    known = directory.status.get("data")
    if known is None:
        directory.set_status("training", data=fingerprints)
    elif known != fingerprints:
        changed = ", ".join(name for name, value in fingerprints.items() if known.get(name) != value)
        raise RunError(f"`{directory.path}` was begun with other {changed} prompts; choose another directory.")


def _train(study: "Study", made: Assembled, directory: RunDirectory, progress: Progress) -> tuple[Policy, State]:
    recipe, policy = study.recipe, made.policy
    session = Session(
        objectives=made.trained,
        setting=made.setting,
        directory=directory,
        save_steps=study.save_steps,
        save_total_limit=study.save_total_limit,
        on_step=progress.step,
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
    study: "Study", made: Assembled, policy: Policy, state: State, directory: RunDirectory, progress: Progress
) -> Front:
    """Value the offered behaviours on dev, then on test prompts, and build the front."""
    preferences = state["weighting"].get("preference", made.preferences)  # breeding may have rewritten them
    order = [made.trained.index(objective) for objective in study.trained()]  # people see their own order
    offered, wishes, kinds = study.recipe.offer(policy, preferences[:, order])
    paths = {name: _saved(offered, name, directory.point_path(name)) for name in offered.members}
    recipe = study.recipe
    warm = recipe.eval_temperature if recipe.eval_temperature is not None else recipe.temperature
    evaluations: dict[str, Evaluation] = {}
    for which, env in (("dev", made.dev), ("test", made.test)):
        progress.valuing(which, len(offered.members))
        evaluations[which] = evaluate(
            offered,
            env,
            prompts=study.eval_prompts,
            temperature=float(warm) if isinstance(warm, int | float) else 1.0,
            max_new_tokens=recipe.max_completion_length,
            seed=study.seed,
            split=which,
            on_progress=progress.valued,
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
    front.save(directory.front_path)
    directory.set_status("finished", steps=recipe.steps, data=made.fingerprints)
    return front


def _saved(policy: Policy, name: str, path: Path) -> Path:
    """Save a behaviour; a kill in the middle leaves nothing that looks finished."""
    if not path.exists():
        partial = path.with_name(f".{path.name}.writing")
        shutil.rmtree(partial, ignore_errors=True)
        policy.save(name, partial)
        partial.rename(path)
    return path


def _last_weights(
    study: "Study", directory: RunDirectory, members: Sequence[str]
) -> Float[Tensor, "member objective"] | None:
    """Return the weights of the last step, or None where the valued behaviours are not the members."""
    records = directory.read_metrics()
    if not records or records[-1]["members"] != list(members):
        return None
    return torch.tensor([records[-1][f"weights/{objective.name}"] for objective in study.trained()]).T
