"""From a study to the objects that train: tokenizer, policy, environments, preferences."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.data import PromptSet, load_prompts, split
from moalign.errors import ConfigError
from moalign.models import load_model, load_tokenizer, token_ids
from moalign.objectives import Objective, setting
from moalign.policies import FullModel, LoraMembers
from moalign.records import Need, Policy, Setting
from moalign.rewards import Scorer
from moalign.rollouts.environment import TextEnvironment
from moalign.study._preferences import preference_points

if TYPE_CHECKING:
    from moalign.study._study import Study


@dataclass(frozen=True)
class Assembled:
    """Everything a run holds in memory."""

    tokenizer: Any
    policy: Policy
    train: TextEnvironment
    dev: TextEnvironment
    test: TextEnvironment
    trained: tuple[Objective, ...]  # in the order of their names: the order a user writes changes nothing
    preferences: Float[Tensor, "member objective"]
    setting: Setting
    fingerprints: dict[str, str]  # of the data


def assemble(study: "Study") -> Assembled:
    """Load the model and the data of a study that has been checked."""
    tokenizer = study.processing_class or load_tokenizer(study.model)
    model = (
        load_model(study.model) if isinstance(study.model, str) or hasattr(study.model, "__fspath__") else study.model
    )
    trained = tuple(sorted(study.trained(), key=lambda objective: objective.name))
    tracked = tuple(objective for objective in study.objectives if not objective.optimize)
    train, dev, test = datasets_of(study, tokenizer)
    longest = study.recipe.max_completion_length

    def environment(data: PromptSet, objectives: tuple[Objective, ...]) -> TextEnvironment:
        scorer = Scorer(objectives)
        return TextEnvironment(data, tokenizer, scorer, objectives, seed=study.seed, max_completion_length=longest)

    names = [objective.name for objective in trained]
    return Assembled(
        tokenizer=tokenizer,
        policy=_policy(study, model, tokenizer),
        train=environment(train, trained),
        dev=environment(dev, trained + tracked),
        test=environment(test, trained + tracked),
        trained=trained,
        preferences=preference_points(study.preferences, names, study.members, seed=study.seed),
        setting=setting(trained, study.reference_point or {}),
        fingerprints={"train": train.fingerprint, "dev": dev.fingerprint, "test": test.fingerprint},
    )


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


def _policy(study: "Study", model: Any, tokenizer: Any) -> Policy:
    pad_id, eos_ids = token_ids(tokenizer, model)
    names = tuple(f"m{k:02d}" for k in range(study.members))
    heads = len(study.trained()) if Need.VALUES in study.recipe.needs else 0
    common = {
        "members": names,
        "pad_id": pad_id,
        "eos_ids": eos_ids,
        "seed": study.seed,
        "value_heads": heads,
        "micro_rows": study.micro_rows,
        "tokenizer": tokenizer,
    }
    if study.peft_config == "full":
        return FullModel(model, **common)
    if study.peft_config is None:
        policy = LoraMembers(model, **common)
    else:
        policy = LoraMembers.from_peft(model, study.peft_config, **common)
    missing = study.recipe.needs - policy.provides - {Need.REFERENCE, Need.GRAM}
    if missing:
        wanted = ", ".join(sorted(need.name.lower() for need in missing))
        raise ConfigError(f"`recipe` needs {wanted}, which the policy does not provide; use another recipe.")
    return policy.to(torch.device("cuda")) if torch.cuda.is_available() else policy  # type: ignore[attr-defined]
