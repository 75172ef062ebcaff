"""A study: what to train, on what, for which rewards, by which recipe. Immutable; no results inside."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moalign.errors import ConfigError, StudyError
from moalign.objectives import Objective, as_objectives, trained
from moalign.parts import canonical, put, spec

if TYPE_CHECKING:
    from moalign.fronts import Front
    from moalign.study._check import Plan


@dataclass(frozen=True)
class Study:
    """A specification of a multi-objective training run; `run` turns it into a front of models.

    Args:
        name: names the run directory, ``runs/<name>``.
        objectives: `Objective`s; a function, a list of functions or a dict of them is accepted too.
        model: a local directory, a hub id, or a loaded causal language model.
        train_dataset: JSONL, JSON, Parquet or CSV file, directory or hub id, `datasets.Dataset`, or list of dicts,
            with a column ``prompt``; every other column is passed to the rewards by name.
        eval_dataset, test_dataset: where members are chosen and where they are valued; without them the training
            prompts are split 80/10/10 by a seeded shuffle.
        recipe: a `Recipe` or the name of one.
        members: how many policies are trained together.
        preferences: ``"simplex"`` spreads them evenly, corners included; or a list of dicts; or a `Simplex`.
        reference_point: of the hypervolume, by objective, in the objectives' own units.
        peft_config: a `peft.LoraConfig` or its fields; None is rank 8 on every linear layer; "full" trains a whole
            model.
        processing_class: the tokenizer; None loads the model's.
        engine: what samples: "transformers", "vllm", or an object with `generate`, e.g. ``VLLM(max_model_len=4096)``.
        seed: of everything random.
        eval_prompts: how many dev and test prompts value each member.
        save_steps: steps between checkpoints; a kill loses at most so many.
        save_total_limit: checkpoints kept.
        save_rollouts: groups of completions kept of each member at every checkpoint, to read; 0 keeps none.
        micro_rows: rows of one forward and backward pass; None: a member's whole batch.
        sample_rows: rows sampled at once, in waves when there are more; None: all. Changes memory, not tokens.
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.

    >>> from moalign.study import Study
    >>> study = Study("s", [len], model="m", train_dataset="d.jsonl", members=4)
    >>> study.replace(**{"members": 2}).members, study.objectives[0].name
    (2, 'len')
    """

    name: str
    objectives: Any
    _: KW_ONLY
    model: Any
    train_dataset: Any
    eval_dataset: Any = None
    test_dataset: Any = None
    recipe: Any = "gdpo"
    members: int = 8
    preferences: Any = "simplex"
    reference_point: Mapping[str, float] | None = None
    peft_config: Any = None
    processing_class: Any = None
    engine: Any = "transformers"
    seed: int = 0
    eval_prompts: int = 1024
    save_steps: int = 20
    save_total_limit: int = 2
    save_rollouts: int = 2
    micro_rows: int | None = None
    sample_rows: int | None = None
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", as_objectives(self.objectives))
        if isinstance(self.recipe, str):
            from moalign.recipes import RECIPES

            # an unknown name stays a string, so that `check` reports it with everything else
            if canonical(self.recipe) in RECIPES:
                object.__setattr__(self, "recipe", RECIPES[canonical(self.recipe)]())

    @classmethod
    def from_trl(
        cls,
        model: Any,
        reward_funcs: Any,
        args: Any,
        train_dataset: Any,
        *,
        eval_dataset: Any = None,
        test_dataset: Any = None,
        processing_class: Any = None,
        reward_processing_classes: Any = None,
        callbacks: Any = None,
        optimizers: Any = None,
        quantization_config: Any = None,
        peft_config: Any = None,
        tools: Any = None,
        rollout_func: Any = None,
        environment_factory: Any = None,
        members: int = 1,
        reward_names: Sequence[str] | None = None,
        **changes: Any,
    ) -> "Study":
        """Return the study of what TRL's `GRPOTrainer` is given; `StudyError` names all that has no counterpart.

        Rewards become objectives by their names, or by `reward_names` in TRL's order; they are maximized. `args` is a
        `GRPOConfig`, taken apart by `recipes.from_trl`; epochs are counted on `train_dataset` as TRL counts them. With
        one member and no `peft_config` the whole model is trained, as TRL does. Several `members` have preferences
        instead of `reward_weights`. `changes` are paths of the study, e.g. ``reference_point={"correct": 0.0}`` or
        ``**{"objectives.tokens.maximize": False}``.
        """
        from moalign.bridges.from_trl import study_from_trl

        others = {
            "reward_processing_classes": reward_processing_classes,
            "callbacks": callbacks,
            "optimizers": optimizers,
            "quantization_config": quantization_config,
            "tools": tools,
            "rollout_func": rollout_func,
            "environment_factory": environment_factory,
        }
        return study_from_trl(
            model,
            reward_funcs,
            args,
            train_dataset,
            eval_dataset=eval_dataset,
            test_dataset=test_dataset,
            processing_class=processing_class,
            peft_config=peft_config,
            members=members,
            reward_names=reward_names,
            others=others,
            changes=changes,
        )

    def to_trl(
        self,
        weights: Mapping[str, float | int] | None = None,
        *,
        output_dir: str | Path | None = None,
        **options: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """Return one member of the study for TRL: a `GRPOConfig`, and what else the bridge's trainer takes.

        ``GRPOTrainer(args=config, **arguments)`` of `moalign.bridges.trl` then trains it, on the same training split,
        with the study's credit and controller. `weights` are the member's preference by objective (one that is left out
        has 0); None: all alike. `options` are further fields of the configuration. `StudyError` names what TRL cannot
        do. What values members (`eval_prompts`, `reference_point`, ...) has no part in it.
        """
        from moalign.bridges.to_trl import study_to_trl

        return study_to_trl(self, weights, output_dir, options)

    def replace(self, **changes: Any) -> "Study":
        """Return the study with fields replaced by dotted path, e.g. ``replace(**{"recipe.learning_rate": 1e-4})``."""
        study, errors = self, []
        for path, value in changes.items():
            try:
                study = put(study, path, value)
            except ConfigError as error:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise StudyError([str(error) for error in errors])
        return study

    def spec(self) -> dict[str, Any]:
        """Return the JSON record that a run keeps: compared on resume, never executed."""
        record = spec(self)
        for name in ("train_dataset", "eval_dataset", "test_dataset"):
            if isinstance(record[name], list):  # rows that stand in the study file: their number and hash will do
                digest = hashlib.sha256(json.dumps(record[name], sort_keys=True).encode()).hexdigest()
                record[name] = {"rows": len(record[name]), "rows_sha256": digest[:16]}
        return record

    def trained(self) -> tuple[Objective, ...]:
        """Return the objectives that are trained; the others are only tracked."""
        return trained(self.objectives)

    def check(self, output_dir: str | Path | None = None, *, mean_length: float | int | None = None) -> "Plan":
        """Return what the run will take; raise `StudyError` with everything that is wrong, before training.

        With `output_dir`, it must not be the run of another study. `mean_length` is how many tokens an average
        completion takes; None: half of `max_completion_length`. The plan's `seconds` are measured when asked for.
        """
        from moalign.study._check import check

        return check(self, output_dir, mean_length=mean_length)

    def run(
        self,
        output_dir: str | Path | None = None,
        *,
        resume: str = "auto",
        report_to: str | Sequence[str] = "none",
        callbacks: Sequence[Any] = (),
        on_step: Callable[[dict[str, Any]], None] | None = None,
    ) -> "Front":
        """Train, value and return the front; a run that was stopped goes on where it was.

        Args:
            output_dir: the run directory; default ``runs/<name>``.
            resume: "auto" starts or continues, "must" only continues, "never" only starts.
            report_to: trackers through their libraries: "tensorboard", "wandb", "trackio", a list of them, or "none".
            callbacks: `transformers.TrainerCallback`s; they watch, and cannot stop the run.
            on_step: called with each step's record, instead of a progress bar.
        """
        from moalign.study._run import run

        return run(self, output_dir, resume=resume, report_to=report_to, callbacks=callbacks, on_step=on_step)
