"""verl with moalign's credit and controllers: an advantage estimator that sees the vector of rewards.

verl hands its registered estimators one number for each completion. Only the estimator called ``gdpo`` is given the
components that the reward function returned, so `install` puts moalign's in its place:

    Legacy = TaskRunner.__ray_metadata__.modified_class       # of verl.trainer.main_ppo_v0, as Ray has wrapped it

    class Runner(Legacy):
        def run(self, config):                                # in the process that trains
            install(weighting="lagrangian", objectives=[Objective("tokens", maximize=False, threshold=200)])
            super().run(config)

    run_ppo(config, task_runner_class=ray.remote(num_cpus=1)(Runner))

with ``algorithm.adv_estimator=gdpo``, ``algorithm.gdpo_reward_keys=[correct, tokens]``,
``reward.reward_manager.name=gdpo`` and ``trainer.use_v1=False``.

What is known and what is not: names and arguments were read in verl's source of 2026 (``core_algos.py``,
``ray_trainer.py``, ``main_ppo.py``, ``v1/trainer_base.py``, the reward manager ``gdpo.py``) and are tested against a
stand-in with the same dispatch. It was never run with verl itself, which is not installed here. The trainer ``v1`` does
not fetch the components from its queue, for verl's own GDPO no more than here, and is refused. A controller's state is
in `Vector.aggregator`, not in verl's checkpoints: a run that is taken up begins it anew.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.bridges.aggregator import Aggregator, credit_with
from moalign.errors import ConfigError

NAME = "gdpo"  # the one estimator that verl gives `non_tensor_batch`
KEYS, WEIGHTS = "gdpo_reward_keys", "gdpo_reward_weights"
NO_KEYS = f"`algorithm.{KEYS}` is missing: name the components that the reward function returns."
NO_VECTOR = (
    "the batch has no reward `{name}` (it has: {there}); let the reward function return it, use "
    "reward.reward_manager.name=gdpo, and trainer.use_v1=False, because verl's trainer v1 does not fetch it."
)


class Vector:
    """An estimator as verl calls it: `Aggregator` on the components, one advantage on every token of a completion.

    It is built from the configuration that comes with the first batch. `steps` is the length of the run, for
    controllers that read progress; verl does not tell an estimator. `on_batch` is called with each batch's numbers
    (``weights/<name>``, ``advantages/…``), for your tracker.
    """

    def __init__(
        self, *, steps: int | None = None, on_batch: Callable[[Mapping[str, float]], None] | None = None, **options: Any
    ):
        self.steps, self.on_batch, self.options = steps, on_batch, options
        self.aggregator: Aggregator | None = None
        self.calls = 0

    def __call__(
        self,
        token_level_rewards: Float[Tensor, "row token"],
        response_mask: Tensor,
        index: Any,
        *,
        config: Any,
        non_tensor_batch: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> tuple[Float[Tensor, "row token"], Float[Tensor, "row token"]]:
        """Return advantages and, the same, returns.

        `index` are the prompts' ids; `token_level_rewards` give the type and the device only; `others` is what verl
        hands to all estimators.
        """
        names = list(config.get(KEYS) or [])
        if not names:
            raise ConfigError(NO_KEYS)
        groups = _numbered(index)
        if self.aggregator is None:
            self.aggregator = self._build(names, config, int(groups.bincount().max()))
        found = self.aggregator(
            _matrix(non_tensor_batch or {}, names),
            groups,
            lengths=response_mask.sum(-1).long(),
            step=self.calls,
            progress=min(self.calls / self.steps, 1.0) if self.steps else 0.0,
        )
        self.calls += 1
        if self.on_batch is not None:
            self.on_batch(found.metrics)
        advantages = found.advantages.to(token_level_rewards)[:, None] * response_mask
        return advantages, advantages

    def _build(self, names: list[str], config: Any, group: int) -> Aggregator:
        if config.get("use_kl_in_reward"):
            raise ConfigError(
                "`algorithm.use_kl_in_reward` adds a penalty to a single reward, which a vector does not have; use "
                "actor_rollout_ref.actor.use_kl_loss."
            )
        weights = config.get(WEIGHTS)
        if weights is not None and len(weights) != len(names):
            raise ConfigError(f"`algorithm.{WEIGHTS}` has {len(weights)} entries for {len(names)} rewards; one each.")
        given = None if weights is None else {name: float(x) for name, x in zip(names, weights)}
        return Aggregator(names, weights=given, group=group, **self.options)


def install(
    *,
    credit: Any = "gdpo-verl",
    normalizer: Any = None,
    estimator: Any = None,
    collapse: Any = None,
    rescaler: Any = None,
    weighting: Any = None,
    objectives: Any = None,
    steps: int | None = None,
    on_batch: Callable[[Mapping[str, float]], None] | None = None,
) -> Vector:
    """Put an estimator of these parts in place of verl's ``gdpo``, in this process, and return it.

    The arguments are those of `moalign.bridges.trl.GRPOTrainer`; without any it is verl's own GDPO, except that a
    reward of None is left out. ``algorithm.gdpo_reward_weights`` are the weights, or the controller's preference.
    """
    try:
        core: Any = importlib.import_module("verl.trainer.ppo.core_algos")
    except ImportError as error:
        raise ImportError("moalign.bridges.verl needs verl, which is not installed; `pip install verl`.") from error
    registry = getattr(core, "ADV_ESTIMATOR_REGISTRY", {})
    if NAME not in registry:
        raise ConfigError(f"this verl has no advantage estimator `{NAME}`, whose place this takes; use a newer one.")
    parts = {"normalizer": normalizer, "estimator": estimator, "collapse": collapse, "rescaler": rescaler}
    pipeline = credit_with(credit, parts)
    made = Vector(steps=steps, on_batch=on_batch, credit=pipeline, weighting=weighting, objectives=objectives)
    registry[NAME] = made
    return made


def _numbered(index: Any) -> Tensor:
    """Return the prompts' numbers from 0, in the order in which they appear: verl's ``uid`` is any object."""
    seen: dict[Any, int] = {}
    return torch.tensor([seen.setdefault(uid, len(seen)) for uid in index])


def _matrix(columns: Mapping[str, Any], names: Sequence[str]) -> Float[Tensor, "row reward"]:
    """Return the components as a matrix, NaN where the reward function gave None."""
    for name in names:
        if name not in columns:
            raise ConfigError(NO_VECTOR.format(name=name, there=", ".join(sorted(map(str, columns))) or "none"))
    table = [[float("nan") if value is None else float(value) for value in columns[name]] for name in names]
    return torch.tensor(table, dtype=torch.float32).T.contiguous()
