"""A reference point for a study that declares none: what its model is worth as the run begins."""

import dataclasses
import logging
import math
from typing import TYPE_CHECKING

import torch

from moalign.errors import MoalignError
from moalign.evaluation import evaluate
from moalign.objectives import Objective
from moalign.study._assemble import assemble
from moalign.training.recipe import knobs, valued_at

if TYPE_CHECKING:
    from moalign.study._study import Study

PROMPTS = 128  # of the dev set

log = logging.getLogger("moalign")


def suggested(study: "Study") -> str:
    """Return a sentence with the base model's values on dev prompts as a dict to paste; needs a study that is right."""
    log.warning("no `reference_point`: valuing the base model on up to %d dev prompts to suggest one", PROMPTS)
    try:
        values = start_values(study)
    except MoalignError as error:
        return f"(The base model's own values cannot be told: {error})"
    inside = ", ".join(f'"{name}": {value:g}' for name, value in values.items())
    return f"The base model's own values are a start: reference_point={{{inside}}}"


def start_values(study: "Study", prompts: int = PROMPTS) -> dict[str, float]:
    """Return the base model's mean on dev prompts for each trained objective, in its own unit, to three digits."""
    one = dataclasses.replace(study, members=1, preferences="simplex", peft_config=None)  # a new adapter does nothing
    made, warm = assemble(one), valued_at(study.recipe, knobs(study.recipe, study.members))
    with made.scorer:
        found = evaluate(
            made.policy,
            made.dev,
            prompts=min(prompts, study.eval_prompts),
            temperature=float(torch.as_tensor(warm).mean()),
            max_new_tokens=study.recipe.max_completion_length,
            seed=study.seed,
            split="dev",
        )
    means = dict(zip(found.names, found.own(made.objectives)[0][0].tolist()))
    return {o.name: _beatable(o, float(f"{means[o.name]:.3g}")) for o in study.trained()}


def _beatable(objective: Objective, value: float) -> float:
    """Return the value, or the worst bound where nothing was valid or nothing is better."""
    at_best = objective.flip(value) >= objective.flip(objective.best)
    return objective.worst if at_best or math.isnan(value) else value
