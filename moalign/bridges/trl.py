"""TRL's `GRPOTrainer` with moalign's credit and controllers: one more import, one more argument, the rest is TRL's.

    from moalign.bridges.trl import GRPOTrainer

    GRPOTrainer(model, reward_funcs=[correct, short], args=config, train_dataset=data, weighting="lagrangian",
                objectives={"short": Objective("short", maximize=False, threshold=200)})

vLLM, FSDP, tools, PEFT, logging and checkpoints stay TRL's: what is replaced is the step from the matrix of rewards,
gathered over the processes, to one advantage for each completion. Without any of the arguments it is TRL's own trainer,
bit for bit. Tested with TRL 1.16 on one process; several processes compute the same from the same gathered matrix.
"""

import logging
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from moalign.bridges.aggregator import Aggregated, Aggregator, credit_with
from moalign.credit import CreditPipeline, trl_normalize_then_sum, trl_sum_then_normalize
from moalign.errors import ConfigError
from moalign.runs.checkpoints import read_state, steps_saved, write_state

try:
    import trl
    from trl.trainer.grpo_trainer import GRPOTrainer as Theirs
except ImportError as error:
    raise ImportError("moalign.bridges.trl needs TRL, which is not installed; `pip install 'trl==1.16.*'`.") from error

log = logging.getLogger("moalign")

TESTED = ("1.16",)
"""Releases of TRL whose private methods this trainer is tested to fit."""

STATE = "moalign"  # a folder of the checkpoint's


class GRPOTrainer(Theirs):
    """TRL's trainer, and where its rewards' vector becomes a number is yours to say.

    What TRL's configuration asks for is where it starts: ``multi_objective_aggregation`` and ``scale_rewards`` give the
    parts of the credit, ``reward_weights`` the weights. Each argument replaces one part, by name or as an object:

    Args:
        credit: a `CreditPipeline` or its name, e.g. "gdpo-nvlabs", in place of the configuration's.
        normalizer, estimator, collapse, rescaler: parts of it. With ``collapse="at-advantage"`` each
            reward is compared within its group before they are added (MO-GRPO); with
            ``rescaler="batch-standardize"`` as well that is GDPO, TRL's ``normalize_then_sum``.
        weighting: a controller; `reward_weights` are then its preference, divided by their sum.
        objectives: `Objective` by reward name, for those that are costs, have bounds or a threshold, count `after`
            another, or are only tracked. Rewards stay TRL's: an objective names one, and has none of its own.

    A reward that gives None is missing, not 0, unless the configuration's own aggregation is left as it is. Logs gain
    ``weights/<name>``, ``advantages/…`` and what the controller says of itself; ``reward`` and ``reward_std`` are of
    the weighted sum, larger is better; ``frac_reward_zero_std`` is a share of groups. Controllers and normalizers are
    saved with each checkpoint and go on from there; an evaluation teaches them nothing.
    """

    def __init__(
        self,
        *args: Any,
        credit: Any = None,
        normalizer: Any = None,
        estimator: Any = None,
        collapse: Any = None,
        rescaler: Any = None,
        weighting: Any = None,
        objectives: Any = None,
        **kwargs: Any,
    ):
        check_version(trl.__version__)
        super().__init__(*args, **kwargs)
        parts = {"normalizer": normalizer, "estimator": estimator, "collapse": collapse, "rescaler": rescaler}
        self._found: Aggregated | None = None
        self._aggregator: Aggregator | None = None
        if all(part is None for part in (credit, *parts.values(), weighting)) and not objectives:
            return
        asked: Any = self.args
        given = {name: float(x) for name, x in zip(self.reward_func_names, self.reward_weights)}
        self._aggregator = Aggregator(
            self.reward_func_names,
            credit=credit_with(credit_of(self.args) if credit is None else credit, parts),
            weighting=weighting,
            weights=None if asked.reward_weights is None else given,
            objectives=objectives,
            group=int(self.num_generations or 1),
        )
        for objective in self._aggregator.objectives:
            if objective.reward is not None:
                raise ConfigError(
                    f"`reward` of objective `{objective.name}`: give the function in `reward_funcs` only."
                )

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        """Return the rewards of all processes, and keep the advantages they come to: later TRL only has its own."""
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self._aggregator is not None:
            model: Any = self.model
            train = bool(model.training)
            size = int((self.num_generations if train else self.num_generations_eval) or 1)
            total = self.state.max_steps
            lengths: Any = torch.tensor([len(ids) for ids in completion_ids_list], device=rewards.device)
            everybodys: Any = self.accelerator.gather(lengths)
            self._found = self._aggregator(
                rewards,
                torch.arange(len(rewards)) // size,
                lengths=everybodys,
                step=self.state.global_step,
                progress=self.state.global_step / total if total > 0 else 0.0,
                learn=train,
            )
        return rewards

    def _generate_and_score_completions(self, inputs: list[Any]) -> dict[str, Any]:
        """Return TRL's batch with this process's share of our advantages, and correct what TRL logged of its own."""
        batch = super()._generate_and_score_completions(inputs)
        found, self._found = self._found, None
        if found is None:
            return batch
        theirs = batch["advantages"]
        start = self.accelerator.process_index * len(theirs)
        batch["advantages"] = found.advantages[start : start + len(theirs)].to(theirs)

        logged = self._metrics["train" if cast(Any, self.model).training else "eval"]
        scored = found.utility[~found.utility.isnan()]
        ours = {
            **found.metrics,
            "reward": float(scored.mean()),
            "reward_std": float(scored.std()) if len(scored) > 1 else 0.0,
        }
        for name in ("reward", "reward_std", "frac_reward_zero_std"):
            logged[name].pop()
        for name, value in ours.items():
            logged[name].append(value)
        table = self._logs["advantages"]  # which has room for one training batch only
        for _ in range(min(len(table), len(found.advantages))):
            table.pop()
        table.extend(found.advantages.tolist())
        return batch

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save the controller's and the normalizer's state first: a checkpoint that is whole has them."""
        if self._aggregator is not None and self.args.should_save and not self.args.save_only_model:
            folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            folder.mkdir(parents=True, exist_ok=True)
            write_state(folder / STATE, self.state.global_step, self._aggregator.state)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self._aggregator is None or checkpoint is None:
            return
        saved = steps_saved(Path(checkpoint) / STATE)
        if saved:
            self._aggregator.state = read_state(Path(checkpoint) / STATE, saved[0])
        else:
            log.warning("checkpoint `%s` has no state of moalign's: controller and normalizer begin anew", checkpoint)


def check_version(version: str) -> None:
    """Raise `ConfigError` for a release of TRL that this trainer was not tested with.

    >>> check_version("1.16.2")
    """
    if ".".join(version.split(".")[:2]) not in TESTED:
        raise ConfigError(
            f"moalign.bridges.trl overrides private methods and is tested with TRL {', '.join(TESTED)}, not {version}; "
            f"`pip install 'trl=={TESTED[-1]}.*'`, or use TRL's own GRPOTrainer."
        )


def credit_of(config: Any) -> CreditPipeline:
    """Return the credit that a `GRPOConfig` asks for."""
    if config.multi_objective_aggregation == "normalize_then_sum":
        return trl_normalize_then_sum()
    return trl_sum_then_normalize(scale_rewards=config.scale_rewards)
