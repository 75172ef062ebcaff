"""A training session: steps with a progress bar, metrics in own signs, checkpoints, callbacks, a clean stop."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import TrainingError
from moalign.objectives import Objective
from moalign.optimizers.hypervolume import hypervolume
from moalign.records import Credit, Metrics, Policy, Rows, Setting, Signals, Snapshot, State
from moalign.runs import RunDirectory
from moalign.training.kept import kept_rollouts
from moalign.training.stopping import Stopping

log = logging.getLogger("moalign")


@dataclass
class Session:
    """What a run does around the loop; the loop itself knows nothing of disks, bars or trackers."""

    objectives: Sequence[Objective]  # those that are trained
    setting: Setting
    directory: RunDirectory | None = None
    start: int = 0  # first step to run
    save_steps: int = 20
    save_total_limit: int = 2
    save_rollouts: int = 0  # groups of each member whose completions are kept from every checkpointed step
    stopping: Stopping = field(default_factory=Stopping)
    on_step: Callable[[dict[str, Any]], None] | None = None  # gets each step's record: bars, trackers
    on_save: Callable[[int], None] | None = None  # called when the checkpoint before that step is on disk
    _began: float = field(default_factory=time.perf_counter)
    _total: int = 0
    _warned: set[str] = field(default_factory=set)

    def steps(self, total: int) -> Iterator[int]:
        """Yield the steps that are left; a SIGTERM lets the current one finish and be saved."""
        self._total = total
        with self.stopping:
            for step in range(self.start, total):
                self._began = time.perf_counter()
                yield step
        self.start = total

    def record(
        self,
        policy: Policy,
        rows: Rows,
        credit: Credit,
        weights: Float[Tensor, "member prompts groups objective"],
        gain: Float[Tensor, "member"],
        signals: Signals,
        state: State,
        metrics: Metrics,
        now: Any,
    ) -> None:
        """Write down what the step showed: rewards in their own sign, weights, the running hypervolume."""
        self._say_who_stopped(policy, state, signals.step)
        if self.directory is not None and self.save_rollouts and self._is_saved(signals.step):
            kept = kept_rollouts(
                rows, credit, members=policy.members, objectives=self.objectives, groups=self.save_rollouts
            )
            self.directory.write_rollouts(signals.step, kept)
        means = state["running"]["means"]
        entry: dict[str, Any] = {"step": signals.step, "members": list(policy.members)}
        for k, objective in enumerate(self.objectives):
            entry[f"rewards/{objective.name}/mean"] = _plain(signals.means[:, k] * objective.sign)
            entry[f"rewards/{objective.name}/std"] = _plain(signals.stds[:, k])
            entry[f"weights/{objective.name}"] = _plain(weights[..., k].mean(dim=(1, 2)))
            entry[f"running/{objective.name}"] = _plain(means[:, k] * objective.sign)
        entry["gain"] = _plain(gain)
        entry["active"] = state["update"].get("active", torch.ones(len(policy.members))).int().tolist()
        entry["completions/mean_length"] = float(rows.completion_mask.sum(dim=1).float().mean())
        entry["tokens"] = int(rows.completion_mask.sum())
        entry["learning_rate"] = _plain(torch.as_tensor(now.learning_rate))
        entry["pareto/hypervolume"] = self.curve(means)
        controller = getattr(now.weighting, "metrics", None)
        named = controller(state["weighting"], self.setting.names) if controller else {}
        entry |= {name: _plain(value) for name, value in (metrics | named).items()}
        entry["seconds"] = round(time.perf_counter() - self._began, 4)
        if self.directory is not None:
            self.directory.append_metrics(entry)
        if self.on_step is not None:
            self.on_step(entry)

    def curve(self, means: Float[Tensor, "member objective"]) -> float | None:
        """Return the hypervolume of the members' running means: a training curve, not a result."""
        known = means[torch.isfinite(means).all(dim=1)]
        if not len(known) or not bool(torch.isfinite(self.setting.reference).all()):
            return None
        return round(hypervolume(known.double(), self.setting.reference.double()), 6)

    def completed(self, step: int, policy: Policy, state: State) -> None:
        """Save every `save_steps` steps, and when asked to stop; then stop."""
        if "active" in state["update"] and not bool(state["update"]["active"].any()):
            raise TrainingError(f"every member has stopped by step {step}: no loss is finite; lower `learning_rate`.")
        if self.directory is not None and ((step + 1) % self.save_steps == 0 or self.stopping.asked):
            self.save(step + 1, policy, state)
        self.stopping.leave()

    def _is_saved(self, step: int) -> bool:
        return (step + 1) % self.save_steps == 0 or step + 1 == self._total

    def save(self, step: int, policy: Policy, state: State) -> None:
        """Write a checkpoint that stands before `step`."""
        if self.directory is None:
            return
        saved = {"policy": dict(policy.snapshot().tensors), "state": state, "members": list(policy.members)}
        self.directory.save_state(step, saved)
        self.directory.prune(self.save_total_limit)
        if self.on_save is not None:
            self.on_save(step)

    def _say_who_stopped(self, policy: Policy, state: State, step: int) -> None:
        active = state["update"].get("active")
        for name, still in zip(policy.members, [] if active is None else active.tolist()):
            if not still and name not in self._warned:
                self._warned.add(name)
                log.warning(
                    "member %s stopped at step %d: its loss or gradient is not finite; the others go on", name, step
                )


def resume_from(policy: Policy, saved: Mapping[str, Any]) -> State:
    """Put a checkpoint's members into the policy and return its state."""
    names = tuple(saved["members"])
    if names != policy.members:
        policy.gather([0] * len(names), names)
    policy.restore(Snapshot(names, saved["policy"]))
    return saved["state"] | {"update": _on(saved["state"]["update"], policy.device)}


def _on(state: State, device: torch.device) -> State:
    """Return state with its tensors on a device: the update's live beside the parameters."""
    return {name: _on(value, device) if isinstance(value, dict) else value.to(device) for name, value in state.items()}


def _plain(value: Tensor) -> Any:
    """Return numbers for JSON: NaN, which JSON lacks, becomes None."""
    numbers = value.detach().float().cpu()
    if numbers.ndim == 0:
        return round(float(numbers), 6) if math.isfinite(float(numbers)) else None
    return [_plain(v) for v in numbers]
