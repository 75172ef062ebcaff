"""Everything that can be wrong with a study before it starts: one sentence each, all of them at once."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig

from moalign.data import SMALLEST, read_rows
from moalign.errors import ConfigError, MoalignError, nearest
from moalign.models import check_model, explained, load_tokenizer
from moalign.objectives import Objective, check_reference, problems
from moalign.parts import PerMember, walk
from moalign.policies.engines import engine_of
from moalign.rewards.calling import wanted
from moalign.rewards.sources import ADDRESS, resolve
from moalign.study._assemble import datasets_of, held_out, lora_config, tokenizer_source
from moalign.study._preferences import preference_problems, wished_for
from moalign.training.breed import NoBreeding
from moalign.training.offers import Members
from moalign.training.recipe import Recipe, knobs, trained_members

if TYPE_CHECKING:
    from moalign.study._study import Study

MISSING = (
    "`reference_point` is missing; give the value of each trained objective, in its own unit, that every model worth "
    "having beats: the hypervolume is measured from there."
)
LOWEST = {"eval_prompts": 1, "save_steps": 1, "save_total_limit": 1, "save_rollouts": 0}


def find_problems(study: "Study") -> list[str]:
    """Return everything that is wrong with a study, one sentence each."""
    names = [objective.name for objective in study.trained()]
    found: list[str] = []
    if not isinstance(study.name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", study.name):
        found.append(f"`name` names a directory: letters, digits, '.', '_' and '-', got {study.name!r}.")
    found += problems(study.objectives)
    found += reference_problems(study.objectives, study.reference_point)
    among = wished_for(study.objectives, study.recipe)
    found += preference_problems(study.preferences, names, study.members, among=among)
    found += _constraint_problems(study)
    found += _recipe_problems(study)
    found += _number_problems(study)
    found += _engine_problems(study)
    found += _model_problems(study)
    columns, problems_of_data = _data(study)
    found += problems_of_data
    for objective in study.objectives:
        found += _reward_problems(objective, columns)
    return found or _prompt_problems(study)


def _constraint_problems(study: "Study") -> list[str]:
    """Return a problem when a controller of thresholds finds none, and no breeder will set any."""
    recipe = study.recipe
    if not isinstance(recipe, Recipe) or not isinstance(recipe.breed, NoBreeding):
        return []
    holds = getattr(recipe.weighting, "holds_thresholds", False)
    if not holds or any(objective.threshold is not None for objective in study.trained()):
        return []
    return [f"`recipe` {recipe.name} holds objectives at their `threshold`, and no trained objective has one; set one."]


def _prompt_problems(study: "Study") -> list[str]:
    """Return what only the rendered prompts show: chat templates, shared prompts, a model too short for them."""
    try:
        tokenizer = load_tokenizer(tokenizer_source(study))
        sets = datasets_of(study, tokenizer)
        held_out(*sets)
    except MoalignError as error:
        return [str(error)]
    config = study.model.config if hasattr(study.model, "config") else AutoConfig.from_pretrained(study.model)
    limit = getattr(config, "max_position_embeddings", None)
    texts = sorted((text for data in sets for text in data.texts), key=len)[-100:]
    longest = max(len(ids) for ids in tokenizer(texts)["input_ids"])
    room = study.recipe.max_completion_length
    if limit is not None and longest + room > limit:
        return [
            f"prompts of up to {longest} tokens and `max_completion_length` {room} do not fit the model's {limit} "
            "positions; shorten one of them."
        ]
    return []


def reference_problems(objectives: Sequence[Objective], given: Any) -> list[str]:
    """Return what is wrong with a declared reference point; None is an error, too."""
    if given is None or given == {}:
        return [MISSING]
    if not isinstance(given, Mapping):
        return [f"`reference_point` must be a dict from objective to number, got {type(given).__name__}."]
    wrong = [name for name, value in given.items() if isinstance(value, bool) or not isinstance(value, int | float)]
    if wrong:
        return [f"`reference_point` of `{name}` must be a number, got {given[name]!r}." for name in wrong]
    return check_reference(objectives, given)


def _number_problems(study: "Study") -> list[str]:
    found = []
    if not _integer(study.seed):
        found.append(f"`seed` must be an integer, got {study.seed!r}.")
    for name, low in LOWEST.items():
        value = getattr(study, name)
        if not _integer(value) or value < low:
            found.append(f"`{name}` must be an integer of at least {low}, got {value!r}.")
    for name in ("micro_rows", "sample_rows"):
        value = getattr(study, name)
        if value is not None and (not _integer(value) or value < 1):
            found.append(f"`{name}` must be an integer of at least 1, or None, got {value!r}.")
    return found


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _engine_problems(study: "Study") -> list[str]:
    """Return why nothing samples: no engine of that name, its library is missing, or what the engine itself says."""
    try:
        engine = engine_of(study.engine)
    except MoalignError as error:
        return [f"`engine`: {error}"]
    asked: Any = getattr(engine, "problems", None)
    return asked(study) if asked is not None else []


def _recipe_problems(study: "Study") -> list[str]:
    recipe = study.recipe
    if isinstance(recipe, str):
        from moalign.recipes import RECIPES

        return [f"`recipe`: no recipe is called `{recipe}`{nearest(recipe, RECIPES)}"]
    if not isinstance(recipe, Recipe):
        return [f"`recipe` must be a Recipe or the name of one, got {type(recipe).__name__}."]
    found = []
    trained = study.members if not isinstance(study.members, int) else trained_members(recipe, study.members)
    if study.peft_config == "full" and trained != 1:
        found.append(f"`members` must be 1 when peft_config='full' trains one whole model, got {study.members!r}.")
    warm = recipe.temperature if recipe.eval_temperature is None else recipe.eval_temperature
    if isinstance(warm, PerMember) and not isinstance(recipe.offer, Members):
        found.append("`recipe.eval_temperature` must be one number: what is valued are not the members.")
    try:
        knobs(recipe, trained)
    except MoalignError as error:
        found.append(f"`recipe`: {error}")
    names = [objective.name for objective in study.trained()]
    found += [
        f"`recipe.{path}` names the objective `{name}`, which is not trained{nearest(name, names)}"
        for path, value in walk(recipe)
        for name in getattr(value, "objectives", ())
        if name not in names
    ]
    return found + recipe.problems()


def _model_problems(study: "Study") -> list[str]:
    """Return what is wrong with the model, the tokenizer, and how the model is adapted."""
    found: list[str] = []
    model, tokenizer = study.model, study.processing_class
    if isinstance(model, str | Path):
        found += check_model(model, tokenizer=tokenizer is None)
    elif not hasattr(model, "config") or not hasattr(model, "named_parameters"):
        found.append(f"`model` must be a path, a hub id or a loaded causal language model, got {model!r}.")
    elif tokenizer is None and not model.name_or_path:
        found.append("`processing_class` is missing: the model was not loaded from a place that has its tokenizer.")
    if tokenizer is not None:
        try:
            load_tokenizer(tokenizer)
        except ConfigError as error:
            found.append(f"`processing_class`: {error}")
    try:
        lora_config(study.peft_config)
    except ConfigError as error:
        found.append(str(error))
    return found


def _data(study: "Study") -> tuple[dict[str, list[str]], list[str]]:
    """Return the columns of each data set that can be read, and what is wrong with them all."""
    columns: dict[str, list[str]] = {}
    found: list[str] = []
    needed = getattr(study.recipe.collect, "columns", ()) if isinstance(study.recipe, Recipe) else ()
    for field in ("train_dataset", "eval_dataset", "test_dataset"):
        source = getattr(study, field)
        if source is None:
            if field == "train_dataset":
                found.append("`train_dataset` is missing; give a file, a directory, a hub id or a list of dicts.")
            continue
        try:
            rows = read_rows(source)
        except ConfigError as error:
            found.append(f"`{field}`: {error}")
            continue
        columns[field] = list(dict.fromkeys(name for row in rows for name in row))
        if field == "train_dataset":
            found += [
                f"`recipe` {study.recipe.name} learns from the column `{name}`, which `train_dataset` does not have."
                for name in needed
                if name not in columns[field]
            ]
            distinct = len({json.dumps(row["prompt"], default=str) for row in rows})
            if study.eval_dataset is None and study.test_dataset is None and distinct < SMALLEST:
                found.append(
                    f"`train_dataset` has {distinct} distinct prompts and cannot be split (at least {SMALLEST}); "
                    "pass `eval_dataset` and `test_dataset`."
                )
    if (study.eval_dataset is None) != (study.test_dataset is None):
        found.append("give both `eval_dataset` and `test_dataset`, or neither for a split of the training prompts.")
    return columns, found


def _reward_problems(objective: Objective, columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Return why a reward cannot be called with these data sets' columns; classifiers are found but not loaded."""
    reward, title = objective.reward, f"the reward of objective `{objective.name}`"
    if reward is None:
        return []  # already said
    try:
        if isinstance(reward, str) and not ADDRESS.fullmatch(reward):
            with explained(reward, "a sequence classifier"):
                AutoConfig.from_pretrained(reward)
            return []
        needed = [] if hasattr(reward, "config") else wanted(resolve(reward))
    except MoalignError as error:
        return [f"{title}: {error}"]
    return [
        f"{title} asks for the column `{column}`, which `{field}` does not have{nearest(column, known)}"
        for column in needed
        for field, known in columns.items()
        if column not in known
    ]
