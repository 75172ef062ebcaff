"""A recipe: the parts of one training step, and the loop's numbers."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsFloat

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.credit import CreditPipeline
from moalign.errors import ConfigError
from moalign.losses import token_mean
from moalign.parts import (
    Knob,
    PerMember,
    Same,
    Schedule,
    bind,
    fields,
    find,
    get,
    look_up_names,
    may_move,
    needs_of,
    part,
    put,
    walk,
)
from moalign.records import Couples, Need, State
from moalign.rollouts.collect import Sample
from moalign.training.breed import NoBreeding
from moalign.training.descent import Descent
from moalign.training.fitting import misfits
from moalign.training.offers import Members
from moalign.weighting import Constant


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How members are trained: frozen, all parts; a paper's method is a named binding of them.

    A part may be given by its registered name. Numbers typed `Knob` may be a float, a `Schedule`, or `PerMember`.
    """

    name: str
    collect: Any = part("collector", Sample())
    credit: Any = part("credit", CreditPipeline())
    losses: Mapping[str, Callable[..., Any]]  # named terms; their sum is minimised
    reduce: Any = part("reduction", bind(token_mean))
    weighting: Any = part("controller", Constant())
    update: Any = part("update", Descent())
    breed: Any = part("breeder", NoBreeding())
    offer: Any = part("offer", Members())
    steps: int = 100
    prompts_per_step: int = 8  # each member answers the same prompts
    num_generations: int = 8  # completions of a prompt: the group
    max_completion_length: int = 256  # tokens
    temperature: Knob = 1.0
    learning_rate: Knob = 1e-4
    eval_temperature: Knob | None = None  # None: the recipe's temperature; 0 is greedy

    def __post_init__(self) -> None:
        look_up_names(self)
        for name, low in (("steps", 0), ("prompts_per_step", 1), ("num_generations", 1), ("max_completion_length", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ConfigError(f"`{name}` must be an integer of at least {low}, got {value!r}.")
        for value in _numbers("temperature", self.temperature):
            if not 0 < value < float("inf"):
                raise ConfigError(f"`temperature` must be a positive number, got {value!r}.")
        for value in _numbers("learning_rate", self.learning_rate):  # 0 is where a warmup begins and a decay ends
            if not 0 <= value < float("inf"):
                raise ConfigError(f"`learning_rate` must be a number of at least 0, got {value!r}.")
        warm = self.eval_temperature
        if warm is not None and not all(0 <= value < float("inf") for value in _numbers("eval_temperature", warm)):
            raise ConfigError(f"`eval_temperature` must be at least 0 (greedy) or None, got {self.eval_temperature!r}.")
        if not self.losses:
            raise ConfigError("`losses` is empty; name at least one term, e.g. {'policy': PolicyLoss()}.")

    def problems(self) -> list[str]:
        """Return why these parts do not fit together, as each of them says in its own `problems(recipe)`."""
        found = misfits(self)
        if found:  # parts may not be asked before they are parts
            return found
        for value in (*fields(self).values(), *self.losses.values()):
            asked: Any = getattr(value, "problems", None)
            found += asked(self) if asked is not None else []
        if Need.PREVIOUS in self.needs and not any(Need.PREVIOUS in getattr(v, "gives", ()) for _, v in walk(self)):
            found.append("`losses` compare with the previous iterate, which no collector keeps; see PreviousIterate.")
        fixed = [path for path in moving(self) if not _may_move(self, path)]
        return found + [f"`recipe.{path}` is one fixed number: neither a schedule nor PerMember." for path in fixed]

    @property
    def needs(self) -> frozenset[Need]:
        """What the parts read from a forward pass."""
        return frozenset({Need.LOGPROBS}).union(*(needs_of(value) for value in fields(self).values()))

    @property
    def couples(self) -> Couples:
        """`GROUPS` when some loss couples the rows of a group."""
        coupled = any(getattr(loss, "couples", Couples.ROWS) is Couples.GROUPS for loss in self.losses.values())
        return Couples.GROUPS if coupled else Couples.ROWS


def with_options(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe with options replaced by path; ``epsilon=0.3`` finds ``losses.policy.bounds.epsilon``.

    What stands highest is set first, so that an option of a newly chosen part can be set in the same call.
    """
    left = dict(changes)
    while left:
        places: dict[str, str] = {}
        for path in left:
            with contextlib.suppress(ConfigError):  # it may be an option of a part that is yet to be chosen
                places[find(recipe, path)] = path
        if not places:
            find(recipe, next(iter(left)))  # says what is wrong
        highest = min(places, key=lambda full: full.count("."))
        recipe = put(recipe, highest, left.pop(places[highest]))
    return recipe


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    """Return what can be checked now of a number that may move."""
    if isinstance(value, PerMember):
        return value.values
    if isinstance(value, Schedule | Same | Tensor):
        return ()
    if isinstance(value, bool | str) or not isinstance(value, SupportsFloat):
        raise ConfigError(f"`{name}` must be a number, a Schedule or PerMember, got {value!r}.")
    return (float(value),)


def moving(recipe: Recipe) -> dict[str, Schedule | PerMember | Same]:
    """Return the numbers that are scheduled, set per member, or taken from elsewhere in the recipe, by path."""
    return {path: value for path, value in walk(recipe) if isinstance(value, Schedule | PerMember | Same)}


def _may_move(recipe: Recipe, path: str) -> bool:
    owner, _, name = path.rpartition(".")
    value = get(recipe, owner) if owner else recipe
    return may_move(value, name) or isinstance(get(recipe, path), Same)


def trained_members(recipe: Recipe, members: int) -> int:
    """Return how many members are trained for a study's `members`: one where the offer makes them all of it."""
    return 1 if getattr(recipe.offer, "shared", False) else members


def knobs(recipe: Recipe, members: int) -> State:
    """Return the per-member numbers as state, so that breeding gathers them like everything else."""
    state: State = {}
    for path, value in moving(recipe).items():
        if isinstance(value, PerMember):
            if len(value.values) != members:
                raise ConfigError(
                    f"`{path}` has {len(value.values)} values for {members} members; pass one per member."
                )
            state[path] = torch.tensor(value.values)
    return state


def resolve(recipe: Recipe, progress: float, state: State) -> Recipe:
    """Return the recipe with every moving number replaced: a float, or a ``[member]`` tensor."""
    found = moving(recipe)
    for path, value in found.items():
        if not isinstance(value, Same):
            recipe = put(recipe, path, value.at(progress) if isinstance(value, Schedule) else state[path])
    for path, value in found.items():  # these last: what they point at may have moved
        if isinstance(value, Same):
            recipe = put(recipe, path, get(recipe, value.path))
    return recipe


def valued_at(recipe: Recipe, state: State) -> float | Float[Tensor, "member"]:
    """Return the temperature at which trained members are valued: a schedule's end, each member's own."""
    path = "temperature" if recipe.eval_temperature is None else "eval_temperature"
    while isinstance(value := get(recipe, path), Same):
        path = value.path
    if isinstance(value, PerMember):
        return state[path]
    return value.at(1.0) if isinstance(value, Schedule) else float(value)
