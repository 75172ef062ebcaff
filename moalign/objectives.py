"""Objectives: what a study wants, in its own sign and unit, and the checks that need no model and no data.

>>> tokens = Objective("tokens", len, maximize=False, bounds=(0, 512))
>>> tokens.sign, tokens.flip(100.0), tokens.show(100.0, 2.5)
(-1, -100.0, '100.0 ± 2.5')
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, SupportsFloat, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.errors import ConfigError, nearest
from moalign.parts import Bound
from moalign.records import Setting

Reward = Callable[..., Any] | str
"""A reward function (TRL's), "package.module:function", or a sequence classifier: the model, its path or hub id."""

Number = TypeVar("Number", float, Tensor)
Real = int | float


@dataclass(frozen=True)
class Objective:
    """One thing to make large (or small), by name; its numbers are in its own sign and unit."""

    name: str
    reward: Reward | None = None
    _: KW_ONLY
    maximize: bool = True
    threshold: Real | None = None  # a floor when maximize, a ceiling when not: a constraint
    after: str | None = None  # elsewhere than where that objective meets its threshold, this one is at its worst bound
    bounds: tuple[Real, Real] | None = None  # lowest and highest possible value
    optimize: bool = True  # False: tracked, not trained
    timeout: Real | None = None  # seconds per batch; None: the scorer's default
    isolate: bool = False  # in a process of its own, which can be killed even when it holds Python's lock

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ConfigError(f"`name` of an objective must be text, not {self.name!r}.")
        for name in ("threshold", "timeout"):
            value = getattr(self, name)
            if value is not None:
                if not _is_number(value):
                    raise ConfigError(f"`{name}` of objective `{self.name}` must be a number, not {value!r}.")
                object.__setattr__(self, name, float(value))
        if self.bounds is not None:
            pair = tuple(self.bounds) if isinstance(self.bounds, Sequence) else ()
            if len(pair) != 2 or not all(_is_number(value) for value in pair):
                raise ConfigError(f"`bounds` of objective `{self.name}` must be (low, high), not {self.bounds!r}.")
            object.__setattr__(self, "bounds", (float(pair[0]), float(pair[1])))

    @property
    def sign(self) -> int:
        """1 when larger is better, -1 when smaller is."""
        return 1 if self.maximize else -1

    @property
    def best(self) -> float:
        """The better bound, in its own sign; NaN without bounds."""
        return math.nan if self.bounds is None else self.bounds[1 if self.maximize else 0]

    @property
    def worst(self) -> float:
        """The worse bound, in its own sign; NaN without bounds."""
        return math.nan if self.bounds is None else self.bounds[0 if self.maximize else 1]

    def flip(self, values: Number) -> Number:
        """Turn own-sign values into larger-is-better ones, or back."""
        return values if self.maximize else 0.0 - values  # not -values, which makes a cost of 0 print as -0

    def meets(self, values: Float[Tensor, "*any"]) -> Bool[Tensor, "*any"]:
        """Tell where own-sign values meet the threshold."""
        if self.threshold is None:
            raise ConfigError(f"objective `{self.name}` has no `threshold` to meet; set one.")
        return values >= self.threshold if self.maximize else values <= self.threshold

    def show(self, value: float, stderr: float | None = None) -> str:
        """Write an own-sign value, rounded to two digits of its standard error when there is one."""
        if not math.isfinite(value):
            return "missing" if math.isnan(value) else str(value)
        if stderr is None or not math.isfinite(stderr) or stderr <= 0:
            return f"{value:.4g}"
        decimals = max(0, 1 - math.floor(math.log10(stderr)))
        return f"{value:.{decimals}f} ± {stderr:.{decimals}f}"


def _is_number(value: Any) -> bool:
    return isinstance(value, SupportsFloat) and not isinstance(value, bool)


def as_objectives(given: Any) -> tuple[Objective, ...]:
    """Return objectives from one or several of: an `Objective`, a function (by its name), or a dict name to reward.

    >>> def correct(completions, **columns): return [1.0 for _ in completions]
    >>> [o.name for o in as_objectives(correct)], [o.name for o in as_objectives({"a": correct, "b": "pkg.mod:fn"})]
    (['correct'], ['a', 'b'])
    """
    if isinstance(given, Mapping):
        return tuple(Objective(str(name), reward) for name, reward in given.items())
    if isinstance(given, Objective) or callable(given):
        return (_named(given),)
    if isinstance(given, Sequence) and not isinstance(given, str):
        return tuple(_named(item) for item in given)
    raise ConfigError(f"`objectives` must be objectives, functions or a dict of them, not {type(given).__name__}.")


def _named(item: Any) -> Objective:
    if isinstance(item, Objective):
        return item
    name = getattr(item.fn if isinstance(item, Bound) else item, "__name__", None)
    if not callable(item) or name is None or name == "<lambda>":
        raise ConfigError(f"`objectives`: {item!r} has no name of its own; write Objective('name', …) around it.")
    return Objective(name, item)


def trained(objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    """Return the objectives that are optimized, in order; the others are only tracked."""
    return tuple(o for o in objectives if o.optimize)


def problems(objectives: Sequence[Objective]) -> list[str]:
    """Return everything that is wrong with a set of objectives, each as one sentence."""
    found: list[str] = []
    by_name = {o.name: o for o in objectives}
    for name in by_name:
        if (count := sum(o.name == name for o in objectives)) > 1:
            found.append(f"{count} objectives are called `{name}`; give each its own name.")
    for o in objectives:
        if not o.name or any(c in o.name for c in "./ "):
            found.append(
                f"objective name {o.name!r}: use a name without dots, slashes and blanks (it is used in paths)."
            )
        if o.reward is None:
            found.append(f"objective `{o.name}` has no `reward`; pass a function, a path or 'package.module:function'.")
        if o.timeout is not None and not o.timeout > 0:
            found.append(f"`timeout` of objective `{o.name}` must be above 0 seconds, not {o.timeout:g}.")
        found += _bound_problems(o)
        if o.after is not None:
            found += _after_problems(o, o.after, by_name)
    if not trained(objectives):
        found.append("there is nothing to optimize; pass at least one objective with `optimize=True`.")
    return found


def _bound_problems(o: Objective) -> list[str]:
    found = []
    if o.threshold is not None and not math.isfinite(o.threshold):
        found.append(f"`threshold` of objective `{o.name}` must be a finite number, not {o.threshold}.")
    if o.bounds is not None:
        low, high = o.bounds
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            found.append(f"`bounds` of objective `{o.name}` must be finite, low below high, not ({low:g}, {high:g}).")
        elif o.threshold is not None and not low <= o.threshold <= high:
            found.append(
                f"`threshold` {o.threshold:g} of objective `{o.name}` lies outside `bounds` ({low:g}, {high:g})."
            )
    return found


def _after_problems(o: Objective, after: str, by_name: Mapping[str, Objective]) -> list[str]:
    found = []
    if o.bounds is None:
        found.append(f"objective `{o.name}` has `after` and needs `bounds`: it counts as its worst bound elsewhere.")
    if after not in by_name:
        return [
            *found,
            f"`after={after!r}` of objective `{o.name}` names no objective{nearest(after, by_name)}",
        ]
    if by_name[after].threshold is None:
        found.append(f"`after={after!r}` of objective `{o.name}`: `{after}` has no `threshold` to meet; set one.")
    seen: list[str] = [o.name]
    name: str | None = after
    while name is not None and name in by_name and name not in seen:
        seen.append(name)
        name = by_name[name].after
    if name == o.name:
        found.append(f"`after` goes in a circle: {' -> '.join([*seen, o.name])}; remove one.")
    return found


def ideal_nadir(objectives: Sequence[Objective]) -> tuple[Float[Tensor, "objective"], Float[Tensor, "objective"]]:
    """Return the best and worst possible values, larger is better; NaN where an objective declares no bounds."""
    return (
        torch.tensor([o.flip(o.best) for o in objectives], dtype=torch.float32),
        torch.tensor([o.flip(o.worst) for o in objectives], dtype=torch.float32),
    )


def setting(objectives: Sequence[Objective], reference_point: Mapping[str, Real] | None = None) -> Setting:
    """Return what controllers may know of the trained objectives, larger is better; NaN where nothing is declared."""
    objectives = trained(objectives)
    given = reference_point or {}
    ideal, nadir = ideal_nadir(objectives)
    reference = [o.flip(float(given.get(o.name, math.nan))) for o in objectives]
    floors = [math.nan if o.threshold is None else o.flip(o.threshold) for o in objectives]
    return Setting(
        names=tuple(o.name for o in objectives),
        ideal=ideal,
        nadir=nadir,
        reference=torch.tensor(reference, dtype=torch.float32),
        thresholds=torch.tensor(floors, dtype=torch.float32),
    )


def check_reference(objectives: Sequence[Objective], reference_point: Mapping[str, Real] | None) -> list[str]:
    """Return what is wrong with a declared reference point (own signs); none at all is fine."""
    if not reference_point:
        return []
    by_name = {o.name: o for o in trained(objectives)}
    found = [
        f"`reference_point` names `{name}`, which is not a trained objective{nearest(name, by_name)}"
        for name in reference_point
        if name not in by_name
    ]
    for name, o in by_name.items():
        if name not in reference_point:
            found.append(f"`reference_point` has no value for objective `{name}`; give one for each trained objective.")
            continue
        value = float(reference_point[name])
        if not math.isfinite(value):
            found.append(f"`reference_point` of `{name}` must be a finite number, not {value}.")
        elif o.flip(value) >= o.flip(o.best):  # False without bounds: NaN compares with nothing
            side = "below" if o.maximize else "above"
            found.append(f"`reference_point` of `{name}` is {value:g}; it must lie {side} the best value {o.best:g}.")
    return found


def gated(
    objectives: Sequence[Objective], values: Float[Tensor, "row objective"], valid: Bool[Tensor, "row objective"]
) -> tuple[Float[Tensor, "row objective"], Bool[Tensor, "row objective"]]:
    """Set objectives with `after` to their worst bound wherever the other one fails its threshold (own signs).

    Where the other one is missing, whether it is met is unknown, and the gated value is missing too. Gates chain.
    """
    position = {o.name: i for i, o in enumerate(objectives)}
    values, valid = values.clone(), valid.clone()
    waiting = [o for o in objectives if o.after is not None]
    for o in waiting:
        if o.after not in position:
            raise ConfigError(f"`after={o.after!r}` of objective `{o.name}` is not scored here; score all objectives.")
    while waiting:
        pending = {o.name for o in waiting}
        ready = [o for o in waiting if o.after not in pending]
        if not ready:
            raise ConfigError(f"`after` of {', '.join(sorted(pending))} goes in a circle; remove one.")
        for o in ready:
            i, j = position[o.name], position[str(o.after)]
            met = objectives[j].meets(values[:, j])
            values[:, i] = torch.where(met, values[:, i], torch.full_like(values[:, i], o.worst))
            valid[:, i] &= valid[:, j]
        waiting = [o for o in waiting if o not in ready]
    return values, valid
