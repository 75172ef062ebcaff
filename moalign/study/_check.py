"""Check a study before anything is trained: every error at once, and what the run will take."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moalign.errors import RunError, StudyError
from moalign.optimizers.simplex import Simplex
from moalign.records import Need
from moalign.runs import RunDirectory
from moalign.study._assemble import lora_config
from moalign.study._preferences import wished_for
from moalign.study._problems import MISSING, find_problems
from moalign.study._suggest import suggested
from moalign.training.recipe import trained_members

if TYPE_CHECKING:
    from moalign.study._study import Study

log = logging.getLogger("moalign")


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


def check(study: "Study", output_dir: str | Path | None = None) -> Plan:
    """Return the plan of a study; raise `StudyError` with every problem found, an occupied directory among them."""
    found = find_problems(study)
    taken: RunError | None = None
    if output_dir is not None:
        try:
            RunDirectory(output_dir).refuse_other(study.spec())
        except RunError as error:
            taken = error
    if taken is not None and not found:
        raise taken
    if found == [MISSING] and taken is None:  # everything else is there to show where the base model stands
        found = [f"{MISSING} {suggested(study)}"]
    if found:
        raise StudyError([*found, *([] if taken is None else [str(taken)])])
    wishes = wished_for(study.objectives, study.recipe)
    if study.members < len(wishes) and isinstance(study.preferences, str | Simplex):
        log.warning("%d members cannot each wish for one of %d objectives", study.members, len(wishes))
    return plan(study)


def plan(study: "Study") -> Plan:
    """Estimate memory and disk from the model's configuration; nothing is loaded."""
    recipe, config = study.recipe, _config(study.model)
    members = trained_members(recipe, study.members)
    hidden, layers = _size(config, "hidden_size", "n_embd"), _size(config, "num_hidden_layers", "n_layer")
    vocabulary, inner = _size(config, "vocab_size"), _size(config, "intermediate_size", "n_inner") or 4 * hidden
    base = 4 * (layers * (4 * hidden * hidden + 3 * hidden * inner) + vocabulary * hidden)
    lora = lora_config(study.peft_config)
    rank = 0 if study.peft_config == "full" else 8 if lora is None else lora.r
    per_layer = rank * (8 * hidden + 3 * (hidden + inner))
    member = 4 * layers * per_layer if rank else base
    batch = recipe.prompts_per_step * recipe.num_generations
    length = recipe.max_completion_length
    cache = 4 * 2 * layers * hidden * 2 * length * batch * members
    micro = min(batch, study.micro_rows or batch)
    activations = 4 * micro * length * (layers * (14 * hidden + 4 * inner) + 3 * vocabulary)
    values = Need.VALUES in recipe.needs
    heads = 4 * hidden * len(study.trained()) * members if values else 0
    return Plan(
        steps=recipe.steps,
        members=members,
        rollouts=recipe.steps * batch * members,
        evaluations=2 * study.eval_prompts * study.members,
        model_bytes=base,
        memory_bytes=base + 4 * member * members + heads + max(cache, activations),
        disk_bytes=member * (study.members + 3 * members * study.save_total_limit) + 2000 * recipe.steps,
    )


def _config(model: Any) -> Any:
    from transformers import AutoConfig

    return model.config if hasattr(model, "config") else AutoConfig.from_pretrained(model)


def _size(config: Any, *names: str) -> int:
    return next((int(v) for name in names if (v := getattr(config, name, None)) is not None), 0)
