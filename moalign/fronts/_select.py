"""Choose one point of a front: limits first, then the best in one objective, or for some weights."""

import math
from collections.abc import Iterable, Mapping, Sequence

from moalign.errors import ConfigError, UnknownNameError, nearest
from moalign.fronts._point import Numbers, Point
from moalign.objectives import Objective, trained

METHODS = ("chebyshev", "linear")


def select(
    points: Sequence[Point],
    objectives: Sequence[Objective],
    *,
    weights: Numbers | None,
    at_least: Numbers,
    at_most: Numbers,
    maximize: str | None,
    method: str,
) -> Point:
    """Return one of `points`; see `Front.select`."""
    by_name = {o.name: o for o in objectives}
    asked = [maximize] if maximize is not None else []
    _check_names([*at_least, *at_most, *(weights or {}), *asked], by_name)
    if weights is not None and maximize is not None:
        raise ConfigError("`weights` and `maximize` are two ways to choose; pass one of them.")
    if method not in METHODS:
        raise ConfigError(f"`method` is {method!r}; use {' or '.join(METHODS)}.")
    if not points:
        raise ConfigError("the front has no points to select from.")
    kept = [p for p in points if not _misses(p, at_least, at_most)]
    if not kept:
        raise ConfigError(_why_none(points, by_name, at_least, at_most))
    if maximize is not None:
        goal = by_name[maximize]
        known = [p for p in kept if math.isfinite(p.values[maximize])]
        if not known:
            raise ConfigError(f"no point that qualifies has a value of `{maximize}`; it was missing on every prompt.")
        return max(known, key=lambda p: goal.flip(p.values[maximize]))
    share = _shares(weights, trained(objectives))
    regrets = {p.id: _regrets(p, points, [by_name[name] for name in share]) for p in kept}

    def cost(point: Point) -> tuple[float, float]:
        terms = [w * r for w, r in zip(share.values(), regrets[point.id])]
        return (max(terms), sum(terms)) if method == "chebyshev" else (sum(terms), max(terms))

    return min(kept, key=cost)


def _regrets(point: Point, points: Sequence[Point], objectives: Iterable[Objective]) -> list[float]:
    """Return how far a point is from the front's best in each objective, in units of the front's range."""
    out = []
    for o in objectives:
        values = [o.flip(p.values[o.name]) for p in points if math.isfinite(p.values[o.name])]
        span = max(values) - min(values) if values else 0.0
        own = o.flip(point.values[o.name])
        out.append(math.inf if not math.isfinite(own) else (max(values) - own) / span if span > 0 else 0.0)
    return out


def _shares(weights: Numbers | None, objectives: Sequence[Objective]) -> dict[str, float]:
    """Return positive weights that sum to 1; objectives of weight 0 do not count."""
    given = dict(weights) if weights is not None else {o.name: 1.0 for o in objectives}
    if not given or any(not math.isfinite(w) or w < 0 for w in given.values()) or sum(given.values()) <= 0:
        raise ConfigError(f"`weights` is {given}; they must be at least 0, and one above it.")
    return {name: w / sum(given.values()) for name, w in given.items() if w > 0}


def _misses(point: Point, at_least: Numbers, at_most: Numbers) -> bool:
    low = any(not point.values[name] >= limit for name, limit in at_least.items())  # NaN keeps no limit
    return low or any(not point.values[name] <= limit for name, limit in at_most.items())


def _check_names(names: Iterable[str], known: Mapping[str, Objective]) -> None:
    for name in names:
        if name not in known:
            raise UnknownNameError(f"the front has no objective `{name}`{nearest(name, known)}")


def _why_none(
    points: Sequence[Point],
    objectives: Mapping[str, Objective],
    at_least: Numbers,
    at_most: Numbers,
) -> str:
    """Say which limits no point keeps and how near the front comes, or that no point keeps all of them."""
    limits = [(name, ">=", limit, max) for name, limit in at_least.items()]
    limits += [(name, "<=", limit, min) for name, limit in at_most.items()]
    lines = []
    for name, sign, limit, extreme in limits:
        values = [p.values[name] for p in points if math.isfinite(p.values[name])]
        nearest_value = extreme(values, default=math.nan)
        if not (nearest_value >= limit if sign == ">=" else nearest_value <= limit):
            who = next((p for p in points if p.values[name] == nearest_value), None)
            at = f"the nearest is {objectives[name].show(nearest_value)} at {who.id}" if who else "all are missing"
            lines.append(f"`{name}` {sign} {limit:g} ({at})")
    if lines:
        return f"no point of the front has {' or '.join(lines)}; loosen it."
    wanted = " and ".join(f"`{name}` {sign} {limit:g}" for name, sign, limit, _ in limits)
    return f"no point of the front has {wanted} at once, though each alone is met; loosen one of them."
