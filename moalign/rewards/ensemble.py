"""Several rewards for one objective, made into one number: an answer they disagree about is worth less."""

import concurrent.futures
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError, RewardError
from moalign.parts import bind, look_up_names, part, register
from moalign.rewards.calling import call, prepare, wanted
from moalign.rewards.checking import as_numbers
from moalign.rewards.running import in_daemon
from moalign.rewards.sources import ADDRESS, resolve

PINNED = "tests/rewards/test_ensemble.py::test_three_ways_by_hand"


@register("ensemble", "mean", paper="coste2023ensembles", test=PINNED)
def mean_of(values: Float[Tensor, "reward row"]) -> Float[Tensor, "row"]:
    r"""Return :math:`\frac{1}{k} \sum_i r_i`, Coste et al. 2023 (arXiv:2310.02743): not conservative."""
    return values.mean(0)


@register("ensemble", "worst-case", paper="coste2023ensembles", test=PINNED)
def worst_of(values: Float[Tensor, "reward row"]) -> Float[Tensor, "row"]:
    r"""Return :math:`\min_i r_i`, worst-case optimization of Coste et al. 2023 (arXiv:2310.02743)."""
    return values.amin(0)


@register("ensemble", "uncertainty-weighted", paper="coste2023ensembles", test=PINNED)
def less_variance(values: Float[Tensor, "reward row"], *, coefficient: float = 0.5) -> Float[Tensor, "row"]:
    r"""Return :math:`\bar r - \lambda \frac{1}{k} \sum_i (r_i - \bar r)^2`; :math:`\lambda` is `coefficient`.

    Uncertainty-weighted optimization of Coste et al. 2023 (arXiv:2310.02743), eq. 5; 0.5 did best in their best-of-n.
    The penalty has the square of the rewards' unit: bring members to one scale first (``heads.json``).
    """
    return values.mean(0) - coefficient * values.var(0, correction=0)


@register("reward", "ensemble", paper="coste2023ensembles", test=PINNED)
@dataclass(frozen=True)
class Ensemble:
    """One reward of several: they run at the same time, and `combine` makes one number of theirs.

    `rewards` are whatever an objective takes: functions, paths of models, models. Where they return dicts, each name is
    combined by itself. A cost (``Objective(…, maximize=False)``) needs ``maximize=False`` here too: the worst case is
    then the highest. Where one of them has no value there is none, because the worst of fewer is not as safe. Logs
    ``<name>/std``, how far they lie apart.

    >>> def long(completions, **columns): return [float(len(text)) for text in completions]
    >>> def calm(completions, **columns): return [4.0 - text.count("!") for text in completions]
    >>> Ensemble((long, calm), "worst-case")(completions=["fine", "oh!!!"])
    [4.0, 1.0]
    """

    rewards: Sequence[Any]
    combine: Any = part("ensemble", bind(less_variance))
    maximize: bool = True
    name: str = "ensemble"

    def __post_init__(self) -> None:
        look_up_names(self)
        if isinstance(self.rewards, str) or not isinstance(self.rewards, Sequence) or not self.rewards:
            raise ConfigError(f"`rewards` of an ensemble must be several rewards, not {self.rewards!r}.")
        object.__setattr__(self, "rewards", tuple(self.rewards))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that some member cannot do without; found without loading a model."""
        members = [resolve(r) for r in self.rewards if not isinstance(r, str) or ADDRESS.fullmatch(r)]
        return tuple(dict.fromkeys(column for member in members for column in wanted(member)))

    @cached_property
    def members(self) -> tuple[Callable[..., Any], ...]:
        """The functions behind the rewards, models loaded."""
        return tuple(resolve(reward) for reward in self.rewards)

    def prepare(self) -> None:
        for member in self.members:
            prepare(member)

    def __call__(self, completions: Sequence[Any], **arguments: Any) -> Any:
        told = {"completions": completions, **arguments}
        log_metric = told.pop("log_metric", None)
        log_extra = told.pop("log_extra", None)
        futures = [in_daemon(lambda member=member: call(member, told)) for member in self.members]
        concurrent.futures.wait(futures)
        answers = [future.result() for future in futures]
        for _, notes in answers:
            for name, numbers in notes.metrics.items() if log_metric else ():
                for number in numbers:
                    log_metric(name, number)
            for column, values in notes.extras.items() if log_extra else ():
                log_extra(column, values)
        outputs = [output for output, _ in answers]
        if not any(isinstance(output, Mapping) for output in outputs):
            return self._combined(self.name, outputs, completions, log_metric)
        if len({frozenset(output) if isinstance(output, Mapping) else None for output in outputs}) > 1:
            raise RewardError("the rewards of an ensemble must all return a list, or dicts of the same names")
        return {
            name: self._combined(name, [output[name] for output in outputs], completions, log_metric)
            for name in outputs[0]
        }

    def _combined(
        self, name: str, outputs: Sequence[Any], completions: Sequence[Any], log_metric: Any
    ) -> list[float | None]:
        values = torch.tensor([as_numbers(name, output, completions) for output in outputs], dtype=torch.float64)
        sign = 1.0 if self.maximize else -1.0
        combined = sign * self.combine(sign * values)
        known = ~values.isnan().any(0)
        if log_metric and known.any():
            log_metric(f"{name}/std", float(values[:, known].std(0, correction=0).mean()))
        return [value if valid else None for value, valid in zip(combined.tolist(), known.tolist())]
