"""What a trainer of one model needs of moalign: a matrix of rewards to one advantage for each completion."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moalign.credit import CreditPipeline
from moalign.errors import ConfigError, StudyError
from moalign.losses import PolicyLoss
from moalign.objectives import Objective, gated, ideal_nadir, problems, setting, trained
from moalign.parts import build, check_names
from moalign.records import Credit, Rewards, Rows, State
from moalign.study._preferences import wished_for
from moalign.training.recipe import Recipe, knobs, resolve
from moalign.training.signals import signals_of
from moalign.weighting import RewardWeights

DEFAULT = CreditPipeline()
PARTS = {"normalizer": "normalize", "estimator": "estimate", "collapse": "collapse", "rescaler": "rescale"}
"""What a trainer's user may replace, and the fields of `CreditPipeline` that it sets."""

CHANNELS = (
    "`collapse`: this trainer takes one advantage for each completion, and {collapse} keeps {count}; use at-reward or "
    "at-advantage, or train with a Study."
)


@dataclass(frozen=True)
class Aggregated:
    """What one batch of rewards came to."""

    advantages: Float[Tensor, "row"]  # 0 where a completion has no reward at all
    utility: Float[Tensor, "row"]  # the weighted sum of its rewards, larger is better; NaN where it has none
    metrics: dict[str, float]


class Aggregator:
    r"""Credit and a controller for one model: rewards in their own sign, NaN where missing, to advantages.

    Args:
        names: of the rewards, in the order of the matrix's columns.
        credit: a `CreditPipeline`; see `credit_with`.
        weighting: a controller or its name; None weighs the rewards by `weights`, as they are.
        weights: by name, what the trainer's user asked for: a controller's preference, divided by its sum. None: 1
            each, but 0 where the controller holds a threshold instead.
        objectives: `Objective`\ s for some of the names: direction, bounds, threshold, `after`, `optimize`.
        group: completions of a prompt.

    The state has one member. Every process that sees the same matrix computes the same state, on the CPU.

    >>> sum_of = Aggregator(["long", "right"], weights={"long": 0.5, "right": 1.0}, group=2)
    >>> found = sum_of(torch.tensor([[2.0, 1.0], [4.0, 0.0]]), torch.zeros(2, dtype=torch.long))
    >>> found.utility, found.metrics["weights/long"], bool(found.advantages.any())
    (tensor([2., 2.]), 0.5, False)
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        credit: CreditPipeline = DEFAULT,
        weighting: Any = None,
        weights: Mapping[str, float] | None = None,
        objectives: Mapping[str, Objective] | Sequence[Objective] | None = None,
        group: int = 2,
    ):
        self.objectives = _declared(names, objectives)
        self._columns = torch.tensor([list(names).index(o.name) for o in self.objectives])
        counted = trained(self.objectives)
        self.names = tuple(o.name for o in counted)
        given = {name: float((weights or {}).get(name, 1.0)) for name in self.names}
        self.recipe = Recipe(
            name="bridge",
            credit=credit,
            weighting=RewardWeights(weights=given) if weighting is None else weighting,
            losses={"policy": PolicyLoss()},
            num_generations=group,
        )
        found = self.recipe.problems()
        if found:
            raise StudyError(found)
        wished = wished_for(self.objectives, self.recipe)
        chosen = [given[name] if weights is not None else float(name in wished) for name in self.names]
        self._knobs = knobs(self.recipe, 1)
        self.state: State = {
            "credit": self.recipe.credit.init(1, len(self.names)),
            "weighting": self.recipe.weighting.init(torch.tensor([chosen]), setting(self.objectives)),
        }
        if weighting is not None and weights is not None and "preference" not in self.state["weighting"]:
            title = getattr(self.recipe.weighting, "part_name", "this")
            raise ConfigError(
                f"the trainer's weights are a preference, which weighting={title} does not read; leave one of them out."
            )
        self._try()

    def _try(self) -> None:
        """Refuse parts that leave more than one advantage for a completion, before anything is trained."""
        rows = self._rows(torch.zeros(2, len(self._columns)), torch.zeros(2, dtype=torch.long), None)
        credit, _, _ = self._credit(rows, 0.0)
        if (count := credit.advantages.shape[-1]) != 1:
            collapse = getattr(self.recipe.credit.collapse, "part_name", "the collapse")
            raise ConfigError(CHANNELS.format(collapse=collapse, count=count))

    def __call__(
        self,
        rewards: Float[Tensor, "row reward"],
        groups: Int[Tensor, "row"],
        *,
        lengths: Int[Tensor, "row"] | None = None,
        step: int = 0,
        progress: float | int = 0.0,
        learn: bool = True,
    ) -> Aggregated:
        """Return the advantages of completions; `groups` numbers their prompts from 0.

        `lengths` are the completions' tokens, for credit that counts tokens (None: one each). `progress` is the share
        of the run that is over. Without `learn` (an evaluation) the state stays as it was.
        """
        progress = float(progress)
        rows = self._rows(rewards.detach().float().cpu(), groups.cpu(), lengths)
        credit, weights, credited = self._credit(rows, progress)
        controller = self.recipe.weighting
        scored: Any = rows.rewards
        some = scored.valid.any(-1)
        utility = torch.where(some, (scored.values * credit.weights).sum(-1), torch.nan)
        metrics = {name: float(value.mean()) for name, value in credit.metrics.items()}
        metrics |= {f"weights/{name}": float(x) for name, x in zip(self.names, weights.mean((0, 1, 2)))}
        if learn:
            signals = signals_of(rows, step=step, progress=progress, names=self.names, metrics=dict(credit.metrics))
            self.state = {"credit": credited, "weighting": controller.observe(self.state["weighting"], signals)}
        said = controller.metrics(self.state["weighting"], self.names)
        metrics |= {name: float(value.float().mean()) for name, value in said.items()}
        return Aggregated(credit.advantages[:, 0, 0], utility, metrics)

    def _credit(self, rows: Rows, progress: float) -> tuple[Credit, Tensor, State]:
        now = resolve(self.recipe, progress, self._knobs)
        weights, gain = now.weighting.weigh(self.state["weighting"], rows)
        credit, state = now.credit(rows, weights, gain, self.state["credit"])
        return credit, weights, state

    def _rows(
        self, rewards: Float[Tensor, "row reward"], groups: Int[Tensor, "row"], lengths: Int[Tensor, "row"] | None
    ) -> Rows:
        """Return completions of which only the rewards and the number of tokens are true: credit reads no more."""
        own = rewards[:, self._columns]
        values, valid = gated(self.objectives, own.nan_to_num(0.0), ~own.isnan())
        counted = trained(self.objectives)
        pick = [self.objectives.index(o) for o in counted]
        signs = torch.tensor([float(o.sign) for o in counted])
        valid = valid[:, pick]
        n = len(groups)
        lengths = torch.ones(n, dtype=torch.long) if lengths is None else lengths.cpu()
        mask = torch.arange(max(int(lengths.max()), 1)) < lengths[:, None]
        return Rows(
            members=1,
            member=torch.zeros(n, dtype=torch.long),
            prompt_id=groups,
            group=groups,
            prompt_tokens=torch.zeros(n, 1, dtype=torch.long),
            prompt_mask=torch.ones(n, 1, dtype=torch.bool),
            tokens=torch.zeros(mask.shape, dtype=torch.long),
            completion_mask=mask,
            train_mask=mask,
            keep=torch.ones(n, dtype=torch.bool),
            temperature=torch.ones(n),
            index=torch.arange(n),
            rewards=Rewards(torch.where(valid, values[:, pick] * signs, 0.0), valid, self.names, *ideal_nadir(counted)),
        )


def credit_with(credit: Any, parts: Mapping[str, Any]) -> CreditPipeline:
    """Return a pipeline (or the registered one of that name) with those parts that are not None in place of its own.

    >>> credit_with("gdpo-trl", {"rescaler": None, "estimator": "leave-one-out"}).estimate.fn.__name__
    'leave_one_out'
    """
    credit = build("credit", credit) if isinstance(credit, str) else credit
    if not isinstance(credit, CreditPipeline):
        name = getattr(credit, "part_name", type(credit).__name__)
        raise ConfigError(f"`credit` must be a CreditPipeline or the name of one, got {name}: a trainer has no others.")
    return dataclasses.replace(credit, **{PARTS[name]: part for name, part in parts.items() if part is not None})


def _declared(names: Sequence[str], given: Any) -> tuple[Objective, ...]:
    """Return an objective for each reward, in the order of their names, so that the user's order changes nothing."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise ConfigError(f"two rewards are called `{twice}`; objectives go by name: give each function its own.")
    if isinstance(given, Mapping):
        wrong = [name for name, o in given.items() if o.name != name]
        if wrong:
            raise ConfigError(
                f"`objectives` has {given[wrong[0]].name!r} under the key {wrong[0]!r}; use its own name."
            )
        given = list(given.values())
    by_name = {o.name: o for o in given or ()}
    check_names(by_name, names, "objectives")
    for o in by_name.values():
        for option in ("timeout", "isolate"):
            if getattr(o, option):
                raise ConfigError(
                    f"`{option}` of objective `{o.name}`: here the trainer calls the reward; leave it out."
                )
    declared = tuple(by_name.get(name) or Objective(name) for name in sorted(names))
    called = [dataclasses.replace(o, reward=o.reward or "the trainer calls it") for o in declared]
    # a reward model's name may have dots: nothing here is a path
    found = [said for said in problems(called) if not said.startswith("objective name")]
    if found:
        raise StudyError(found)
    return declared
