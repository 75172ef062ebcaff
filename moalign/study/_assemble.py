"""From a study to the objects that train: tokenizer, policy, environments, preferences."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from peft import LoraConfig
from torch import Tensor

from moalign.data import PromptSet, load_prompts, split
from moalign.errors import ConfigError, StudyError
from moalign.models import best_device, fingerprint, load_model, load_tokenizer, token_ids
from moalign.objectives import Objective, setting
from moalign.parts import check_names
from moalign.policies import FullModel, LoraMembers
from moalign.policies.engines import Engine, engine_of
from moalign.policies.peft_format import lora_options
from moalign.records import Need, Policy, Setting
from moalign.rewards import Scorer
from moalign.rewards.shared import SharedScorer
from moalign.rollouts.environment import Ledger, TextEnvironment
from moalign.study._preferences import preference_points, wished_for
from moalign.training.ranks import ALONE, Ranks
from moalign.training.recipe import trained_members

if TYPE_CHECKING:
    from moalign.study._study import Study

log = logging.getLogger("moalign")


@dataclass(frozen=True)
class Assembled:
    """Everything a run holds in memory."""

    tokenizer: Any
    policy: Policy
    train: TextEnvironment
    dev: TextEnvironment
    test: TextEnvironment
    scorer: Scorer
    objectives: tuple[Objective, ...]  # in the order of their names: the order a user writes changes nothing
    trained: tuple[Objective, ...]  # of them, those that are optimized
    preferences: Float[Tensor, "member objective"]  # of those that are trained
    wishes: Float[Tensor, "point objective"]  # the study's: of those that are valued, where one member becomes them all
    setting: Setting
    fingerprints: dict[str, str]  # of the base model and the data
    splits: dict[str, list[int]]  # each set's rows of its source


def assemble(study: "Study", ranks: Ranks = ALONE) -> Assembled:
    """Load the model and the data of a study that has been checked; the policy holds this process's members."""
    tokenizer = load_tokenizer(tokenizer_source(study))
    model = _model(study)
    objectives = tuple(sorted(study.objectives, key=lambda objective: objective.name))
    trained = tuple(objective for objective in objectives if objective.optimize)
    train, dev, test = datasets_of(study, tokenizer)
    held_out(train, dev, test)
    scorer = Scorer(objectives) if ranks.parts == 1 else SharedScorer(objectives, ranks)
    warned: set[str] = set()  # of constant objectives: once for all environments
    missing = scorer.problems(list(train.columns))
    if missing:
        raise StudyError(missing)

    def environment(data: PromptSet, *, tracked: bool) -> TextEnvironment:
        return TextEnvironment(
            data,
            tokenizer,
            scorer,
            objectives,
            seed=study.seed,
            max_completion_length=study.recipe.max_completion_length,
            steps=study.recipe.steps,
            tracked=tracked,
            ledger=Ledger(warned=warned),
        )

    names, among = [objective.name for objective in trained], wished_for(objectives, study.recipe)
    wishes = preference_points(study.preferences, names, study.members, seed=study.seed, among=among)
    alone = getattr(study.recipe.offer, "shared", False)
    return Assembled(
        tokenizer=tokenizer,
        policy=_policy(study, model, tokenizer, ranks),
        train=environment(train, tracked=False),
        dev=environment(dev, tracked=True),
        test=environment(test, tracked=True),
        scorer=scorer,
        objectives=objectives,
        trained=trained,
        preferences=_even(names, among) if alone else wishes,
        wishes=wishes,
        setting=setting(trained, study.reference_point or {}),
        fingerprints={
            "base model": fingerprint(model),
            "training set": train.fingerprint,
            "dev set": dev.fingerprint,
            "test set": test.fingerprint,
        },
        splits={"train": list(train.ids), "dev": list(dev.ids), "test": list(test.ids)},
    )


def _even(names: Sequence[str], among: Sequence[str]) -> Float[Tensor, "1 objective"]:
    """Return the wish of the one member that becomes all: every objective alike."""
    return torch.tensor([[float(name in among) / len(among) for name in names]])


def datasets_of(study: "Study", tokenizer: Any) -> tuple[PromptSet, PromptSet, PromptSet]:
    """Return training, dev and test prompts; one training set is split when the other two are not given."""
    train = load_prompts(study.train_dataset, tokenizer=tokenizer)
    if study.eval_dataset is None:
        return split(train, study.seed)
    return (
        train,
        load_prompts(study.eval_dataset, tokenizer=tokenizer),
        load_prompts(study.test_dataset, tokenizer=tokenizer),
    )


def held_out(train: PromptSet, dev: PromptSet, test: PromptSet) -> None:
    """Refuse prompts that both choose and value members; say so when some of them are trained on."""
    shared = set(dev.texts) & set(test.texts)
    if shared:
        both = f"{len(shared)} prompts are both in `eval_dataset` and in `test_dataset`"
        raise StudyError([f"{both}; points that are chosen on one must be valued on others."])
    seen = len(set(train.texts) & (set(dev.texts) | set(test.texts)))
    if seen:
        log.warning("%d dev or test prompts are also in `train_dataset`: values say nothing about unseen prompts", seen)


def lora_config(given: Any) -> LoraConfig | None:
    """Return a study's `peft_config` as PEFT's own, a dict's fields filled in; None for the default and "full"."""
    if given is None or (isinstance(given, str) and given == "full"):
        return None
    if isinstance(given, Mapping):
        known = [field.name for field in dataclasses.fields(LoraConfig) if field.init]
        try:
            check_names(given, known, "peft_config")
            given = LoraConfig(**given)
        except (TypeError, ValueError) as error:
            raise error if isinstance(error, ConfigError) else ConfigError(f"`peft_config`: {error}") from error
    if not isinstance(given, LoraConfig):
        raise ConfigError(f"`peft_config` must be a LoraConfig, a dict of its fields, None or 'full', got {given!r}.")
    lora_options(given)  # refuses what members cannot do
    if not isinstance(given.r, int) or given.r < 1:
        raise ConfigError(f"`peft_config` has `r` {given.r!r}; it must be an integer of at least 1.")
    return given


def tokenizer_source(study: "Study") -> Any:
    if study.processing_class is not None:
        return study.processing_class
    return study.model if isinstance(study.model, str | PathLike) else study.model.name_or_path


def _model(study: "Study") -> Any:
    """Return the base model on the device that trains: float32 on a CPU, the checkpoint's own type on a GPU.

    A loaded model keeps its type; one that stands on the CPU is moved to the GPU, as trainers do.
    """
    gpu = torch.cuda.is_available()
    if not isinstance(study.model, str | PathLike):
        return study.model.to(best_device()) if study.model.device.type == "cpu" else study.model
    source = study.model if isinstance(study.model, str) else Path(study.model)
    # whole models are trained in float32: a small step rounds to nothing in bfloat16
    model: Any = load_model(source, dtype=None if gpu and study.peft_config != "full" else torch.float32)
    try:
        return model.to(best_device())
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"`model` does not fit on {best_device()}: every process holds all of it, and one model is not split over "
            "several GPUs; take a smaller model or a larger GPU."
        ) from error


def _engine(study: "Study") -> Engine:
    """Return what samples, and say so if the policy is trained as if the trainer had sampled."""
    engine = engine_of(study.engine)
    losses = study.recipe.losses.values()
    if not getattr(engine, "exact", False) and any(getattr(loss, "correction", engine) is None for loss in losses):
        log.warning(
            "engine %r has other log-probabilities than the trainer, and the policy loss has no `correction`: updates "
            "are off-policy; set one, e.g. correction='truncated'",
            study.engine,
        )
    return engine


def _policy(study: "Study", model: Any, tokenizer: Any, ranks: Ranks) -> Policy:
    pad_id, eos_ids = token_ids(tokenizer, model)
    names = tuple(f"m{k:02d}" for k in ranks.share(trained_members(study.recipe, study.members)))
    heads = len(study.trained()) if Need.VALUES in study.recipe.needs else 0
    common = {
        "members": names,
        "pad_id": pad_id,
        "eos_ids": eos_ids,
        "value_heads": heads,
        "micro_rows": study.micro_rows,
        "sample_rows": study.sample_rows,
        "engine": _engine(study),
        "gradient_checkpointing": study.gradient_checkpointing,
        "tokenizer": tokenizer,
    }
    lora = lora_config(study.peft_config)
    policy: FullModel | LoraMembers
    if study.peft_config == "full":
        policy = FullModel(model, **common)
    elif lora is None:
        policy = LoraMembers(model, seed=study.seed, **common)
    else:
        policy = LoraMembers.from_peft(model, lora, seed=study.seed, **common)
    policy.mates = ranks
    beside = {Need.REFERENCE, Need.OLD, Need.OLD_VALUES, Need.PREVIOUS}  # the loop's and the collector's affair
    missing = study.recipe.needs - policy.provides - beside
    if missing:
        wanted = ", ".join(sorted(need.name.lower() for need in missing))
        raise ConfigError(f"`recipe` needs {wanted}, which the policy does not provide; use another recipe.")
    return policy
