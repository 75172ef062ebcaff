"""The end of a run: save what is offered, value it on dev and then on test prompts, write the front."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import RunError
from moalign.evaluation import Evaluation, evaluate
from moalign.fronts import Front, build_front
from moalign.records import Policy, State
from moalign.runs import RunDirectory
from moalign.runs.atomic import whole_directory
from moalign.study._assemble import Assembled
from moalign.study._progress import Progress
from moalign.study._valued import everybodys, share_of_offer
from moalign.training.gather import gather_state
from moalign.training.ranks import Ranks
from moalign.training.recipe import resolve, valued_at
from moalign.training.stopping import Stopping

if TYPE_CHECKING:
    from moalign.study._study import Study

log = logging.getLogger("moalign")


def value(
    study: "Study",
    made: Assembled,
    policy: Policy,
    state: State,
    directory: RunDirectory,
    progress: Progress,
    stopping: Stopping,
    ranks: Ranks,
) -> Front:
    """Value the offered behaviours on dev, then on test prompts, and build the front."""
    going, stopped = _drop_stopped(policy, state)
    recipe = resolve(study.recipe, 1.0, state["knobs"])
    shared = getattr(recipe.offer, "shared", False)  # one member stands for all wishes
    # breeding may have rewritten the members' own
    preferences = made.wishes if shared else state["weighting"].get("preference", made.preferences)[going]
    order = [made.trained.index(objective) for objective in study.trained()]  # people see their own order
    offered, wishes, kinds = recipe.offer(policy, preferences, state)
    paths = {}
    for name in offered.members:
        paths[name] = directory.point_path(name)
        if ranks.leads:
            _saved(offered, name, paths[name])
        stopping.leave()

    temperature = valued_at(study.recipe, gather_state(state["knobs"], going))
    part, warm = share_of_offer(offered, temperature, ranks)
    evaluations: dict[str, Evaluation] = {}
    for which, env in (("dev", made.dev), ("test", made.test)):
        progress.valuing(which)
        with stopping.at_once():
            found = evaluate(
                part,
                env,
                prompts=study.eval_prompts,
                temperature=warm,
                max_new_tokens=recipe.max_completion_length,
                seed=study.seed,
                split=which,
                on_progress=progress.valued,
            )
        evaluations[which] = everybodys(found, offered, ranks)
        _some_values(evaluations[which])
    front = build_front(
        evaluations["dev"],
        evaluations["test"],
        objectives=study.objectives,
        preferences=wishes[:, order],
        weights=ranks.first(lambda: _last_weights(study, directory, offered.members)),
        kinds=kinds,
        step=recipe.steps,
        seed=study.seed,
        reference_point=study.reference_point,
        paths=paths,
        prefixes=getattr(offered, "prefixes", None),
    )
    front = replace(front, stopped=stopped)
    ranks.first(lambda: _finish(directory, front, recipe.steps))
    progress.valued_all(front)
    return front


def _finish(directory: RunDirectory, front: Front, steps: int) -> None:
    front.save(directory.front_path)
    facts = {name: value for name, value in directory.status.items() if name != "state"}
    directory.set_status("finished", **{**facts, "steps": steps})


def _some_values(found: Evaluation) -> None:
    """Refuse a front without values: an objective that never applied says nothing about any member."""
    never = [name for name, count in zip(found.names, found.counts.sum(dim=0).tolist()) if not count]
    if never:
        raise RunError(f"no {found.split} prompt gave a value of {', '.join(never)}; mend the reward and run again.")


def _drop_stopped(policy: Policy, state: State) -> tuple[list[int], tuple[str, ...]]:
    """Take members that were stopped out of the policy; return where the others stood, and the stopped ones' names."""
    active = state["update"].get("active", torch.ones(len(policy.members), dtype=torch.bool))
    going = active.nonzero().flatten().tolist()
    stopped = tuple(name for k, name in enumerate(policy.members) if k not in going)
    if stopped:
        log.warning("%s stopped in training and will not be in the front", ", ".join(stopped))
        policy.gather(going, [policy.members[k] for k in going])
    return going, stopped


def _saved(policy: Policy, name: str, path: Path) -> None:
    """Save a behaviour; a kill in the middle leaves nothing that looks finished."""
    if not path.exists():
        with whole_directory(path) as partial:
            policy.save(name, partial)


def _last_weights(
    study: "Study", directory: RunDirectory, members: Sequence[str]
) -> Float[Tensor, "member objective"] | None:
    """Return the weights of the last step, or None where the valued behaviours are not the members."""
    records = directory.read_metrics()
    if not records or not set(members) <= set(records[-1]["members"]):
        return None
    index = [records[-1]["members"].index(name) for name in members]
    return torch.tensor([records[-1][f"weights/{objective.name}"] for objective in study.trained()]).T[index]
