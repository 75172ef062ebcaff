"""A training session: steps with a progress bar, metrics in own signs, checkpoints, callbacks, a clean stop."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from moalign.training.shown import Shown, shown
from moalign.training.stopping import STOPPED, Stopping

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
    saved: int | None = None  # the newest checkpoint: the step that it stands before

    def steps(self, total: int) -> Iterator[int]:
        """Yield the steps that are left; asked to stop, the current one is finished and saved."""
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
        seen = shown(policy, rows, weights, gain, signals, state, metrics, now)
        if self.directory is not None and self.save_rollouts and self._is_saved(signals.step):
            kept = kept_rollouts(
                rows, credit, members=policy.members, objectives=self.objectives, groups=self.save_rollouts
            )
            seen = replace(seen, kept=kept)
        controller = getattr(now.weighting, "metrics", None)
        self.write(seen, signals.step, controller(state["weighting"], self.setting.names) if controller else {})

    def write(self, seen: Shown, step: int, steering: Metrics) -> None:
        """Write down what all members showed, and what their controller says."""
        self._say_who_stopped(seen, step)
        if self.directory is not None and seen.kept:
            self.directory.write_rollouts(step, seen.kept)
        entry: dict[str, Any] = {"step": step, "members": list(seen.members)}
        for k, objective in enumerate(self.objectives):
            entry[f"rewards/{objective.name}/mean"] = _plain(seen.means[:, k] * objective.sign)
            entry[f"rewards/{objective.name}/std"] = _plain(seen.stds[:, k])
            entry[f"weights/{objective.name}"] = _plain(seen.weights[:, k])
            entry[f"running/{objective.name}"] = _plain(seen.running[:, k] * objective.sign)
        entry["gain"] = _plain(seen.gain)
        entry["active"] = seen.active.tolist()
        entry["completions/mean_length"] = float(seen.lengths.float().mean())
        entry["tokens"] = int(seen.lengths.sum())
        entry["learning_rate"] = _plain(seen.learning_rate)
        entry["pareto/hypervolume"] = self.curve(seen.running)
        entry |= {name: _plain(value) for name, value in (seen.metrics | steering).items()}
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
        if not self.going(state):
            raise TrainingError(f"every member has stopped by step {step}: no loss is finite; lower `learning_rate`.")
        if self.directory is not None and ((step + 1) % self.save_steps == 0 or self.stopping.asked):
            self.save(step + 1, policy, state)
        self.stopping.leave()

    def going(self, state: State) -> bool:
        """Return whether any member still trains."""
        return "active" not in state["update"] or bool(state["update"]["active"].any())

    def _is_saved(self, step: int) -> bool:
        return (step + 1) % self.save_steps == 0 or step + 1 == self._total

    def save(self, step: int, policy: Policy, state: State) -> None:
        """Write a checkpoint that stands before `step`."""
        self.store(step, {"policy": dict(policy.snapshot().tensors), "state": state, "members": list(policy.members)})

    def store(self, step: int, saved: Mapping[str, Any]) -> None:
        """Write policy, state and names of all members; end the process as if asked to when the disk has no room."""
        if self.directory is None:
            return
        lack = self.directory.lacks_room(saved)
        if lack is not None:
            log.error("stopped before step %d: %s. Make room, and the same command goes on from step %d.",
                      step, lack, self.saved or 0)  # fmt: skip
            raise SystemExit(STOPPED)
        self.directory.save_state(step, saved)
        self.saved = step
        self.directory.prune(self.save_total_limit)
        if self.on_save is not None:
            self.on_save(step)

    def _say_who_stopped(self, seen: Shown, step: int) -> None:
        for name, still in zip(seen.members, seen.active.tolist()):
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
