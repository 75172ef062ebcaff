"""Check a study before anything is trained: every error at once, and what the run will take."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moalign.data import check_dataset
from moalign.errors import MoalignError, StudyError, nearest
from moalign.models import check_model
from moalign.objectives import check_reference, problems
from moalign.records import Need
from moalign.study._preferences import preference_problems
from moalign.training.recipe import Recipe, knobs

if TYPE_CHECKING:
    from moalign.study._study import Study


@dataclass(frozen=True)
class Plan:
    """What a run will take."""

    steps: int
    members: int
    rollouts: int  # completions sampled in training
    evaluations: int  # completions sampled to value the members
    model_bytes: int  # parameters of the base in memory
    memory_bytes: int  # estimate of the peak: base, adapters with optimizer state, cache, one micro-batch
    disk_bytes: int  # checkpoints, points and logs at the end

    def __str__(self) -> str:
        return (
            f"{self.members} members × {self.steps} steps: {self.rollouts:,} completions to train on, "
            f"{self.evaluations:,} to value them; about {self.memory_bytes / 2**20:,.0f} MiB of memory "
            f"({self.model_bytes / 2**20:,.0f} of them the base model) and {self.disk_bytes / 2**20:,.0f} MiB of disk"
        )


def check(study: "Study") -> Plan:
    """Return the plan of a study; raise `StudyError` with every problem found."""
    found = find_problems(study)
    if found:
        raise StudyError(found)
    return plan(study)


def find_problems(study: "Study") -> list[str]:
    """Return everything that is wrong with a study, one sentence each."""
    names = [objective.name for objective in study.trained()]
    found: list[str] = []
    if not isinstance(study.name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", study.name):
        found.append(f"`name` names a directory: letters, digits, '.', '_' and '-', got {study.name!r}.")
    found += problems(study.objectives)
    found += check_reference(study.objectives, study.reference_point)
    found += preference_problems(study.preferences, names, study.members)
    found += _recipe_problems(study)
    if study.engine != "transformers":
        found.append(f"`engine` must be 'transformers', got {study.engine!r}.")
    for name in ("eval_prompts", "save_steps", "save_total_limit"):
        value = getattr(study, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            found.append(f"`{name}` must be an integer of at least 1, got {value!r}.")
    if isinstance(study.model, str) or hasattr(study.model, "__fspath__"):
        found += check_model(study.model)
    for field in ("train_dataset", "eval_dataset", "test_dataset"):
        source = getattr(study, field)
        if source is not None:
            found += [f"`{field}`: {problem}" for problem in check_dataset(source)]
        elif field == "train_dataset":
            found.append("`train_dataset` is missing; give a file, a directory, a hub id or a list of dicts.")
    if (study.eval_dataset is None) != (study.test_dataset is None):
        found.append("give both `eval_dataset` and `test_dataset`, or neither for a split of the training prompts.")
    return found


def _recipe_problems(study: "Study") -> list[str]:
    recipe = study.recipe
    if isinstance(recipe, str):
        from moalign.recipes import RECIPES

        return [f"`recipe`: no recipe is called `{recipe}`{nearest(recipe, RECIPES)}"]
    if not isinstance(recipe, Recipe):
        return [f"`recipe` must be a Recipe or the name of one, got {type(recipe).__name__}."]
    found = []
    if study.peft_config == "full" and study.members != 1:
        found.append(f"`members` must be 1 when peft_config='full' trains one whole model, got {study.members}.")
    try:
        knobs(recipe, study.members)
    except MoalignError as error:
        found.append(f"`recipe`: {error}")
    return found


def plan(study: "Study") -> Plan:
    """Estimate memory and disk from the model's configuration; nothing is loaded."""
    recipe, config = study.recipe, _config(study.model)
    hidden, layers = _size(config, "hidden_size", "n_embd"), _size(config, "num_hidden_layers", "n_layer")
    vocabulary, inner = _size(config, "vocab_size"), _size(config, "intermediate_size", "n_inner") or 4 * hidden
    base = 4 * (layers * (4 * hidden * hidden + 3 * hidden * inner) + vocabulary * hidden)
    rank = getattr(study.peft_config, "r", 8) if study.peft_config != "full" else 0
    per_layer = rank * (8 * hidden + 3 * (hidden + inner))
    member = 4 * layers * per_layer if rank else base
    batch = recipe.prompts_per_step * recipe.num_generations
    length = recipe.max_completion_length
    cache = 4 * 2 * layers * hidden * 2 * length * batch * study.members
    micro = min(batch, study.micro_rows or batch)
    activations = 4 * micro * length * (layers * (14 * hidden + 4 * inner) + 3 * vocabulary)
    values = Need.VALUES in recipe.needs
    heads = 4 * hidden * len(study.trained()) * study.members if values else 0
    return Plan(
        steps=recipe.steps,
        members=study.members,
        rollouts=recipe.steps * batch * study.members,
        evaluations=2 * study.eval_prompts * study.members,
        model_bytes=base,
        memory_bytes=base + 4 * member * study.members + heads + max(cache, activations),
        disk_bytes=member * study.members * (1 + 3 * study.save_total_limit) + 2000 * recipe.steps,
    )


def _config(model: Any) -> Any:
    from transformers import AutoConfig

    return model.config if hasattr(model, "config") else AutoConfig.from_pretrained(model)


def _size(config: Any, *names: str) -> int:
    return next((int(v) for name in names if (v := getattr(config, name, None)) is not None), 0)
