"""Points of least Riesz energy on the simplex within bounds, in numpy; `simplex` is the public side."""

import itertools

import numpy as np

from moalign.optimizers._moocore import FloatArray

STARTS = 4
STEPS = 500
MERGE = 1e-6  # corners and bounds nearer than this are one: bounds may come in single precision


def vertices(lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Return the corners of {w : sum w = 1, lower <= w <= upper}, lexicographically falling; none if it is empty.

    At a corner all coordinates but one sit at a bound; only a few can sit at an upper bound before the sum passes 1.
    """
    slack = 1.0 - lower.sum()
    if slack < -MERGE or upper.sum() < 1.0 - MERGE or (lower > upper + MERGE).any():
        return np.zeros((0, len(lower)))
    room = upper - lower
    reachable = np.flatnonzero(room < slack - MERGE)  # the other upper bounds are never met before the sum is 1
    found = []
    for size in range(len(reachable) + 1):
        if np.sort(room[reachable])[:size].sum() > slack + MERGE:
            break
        for full in itertools.combinations(reachable, size):
            for free in set(range(len(lower))) - set(full):
                left = slack - room[list(full)].sum()
                if -MERGE <= left <= room[free] + MERGE:
                    corner = lower.copy()
                    corner[list(full)] = upper[list(full)]
                    corner[free] += left
                    found.append(corner)
    corners = np.array(found, dtype=np.float64)
    return ordered(corners[np.unique(np.round(corners, 6), axis=0, return_index=True)[1]])


def ordered(points: FloatArray) -> FloatArray:
    """Return the points sorted, first coordinate first, largest first."""
    return points[np.lexsort(-np.round(points, 6).T[::-1])]


def spread(
    corners: FloatArray, lower: FloatArray, upper: FloatArray, count: int, starts: list[FloatArray]
) -> FloatArray:
    """Return `count` points: the corners and the rest relaxed from each of `starts`, of least energy over the starts.

    With fewer points than corners none is fixed.
    """
    fixed = len(corners) if count >= len(corners) else 0
    best, lowest = starts[0], np.inf
    for start in starts:
        points, energy = _relax(start, fixed, lower, upper)
        if energy < lowest - 1e-9:
            best, lowest = points, energy
    return best


def random_start(corners: FloatArray, count: int, generator: np.random.Generator) -> FloatArray:
    """Return the corners (if they all fit) and random points that are far from each other."""
    pool = generator.dirichlet(np.ones(len(corners)), size=20 * count) @ corners
    chosen = list(corners) if count >= len(corners) else [pool[0]]
    distance = np.linalg.norm(pool[:, None] - np.array(chosen)[None], axis=-1).min(axis=1)
    while len(chosen) < count:
        far = int(distance.argmax())
        chosen.append(pool[far])
        distance = np.minimum(distance, np.linalg.norm(pool - pool[far], axis=-1))
    return np.array(chosen)


def energy(points: FloatArray, exponent: float) -> tuple[float, FloatArray]:
    r"""Return :math:`\log \sum_{i \ne j} |x_i - x_j|^{-s}` and its gradient; the logarithm keeps a large s finite."""
    apart = points[:, None] - points[None]
    square = (apart * apart).sum(axis=-1)
    np.fill_diagonal(square, np.inf)
    square = np.maximum(square, 1e-18)
    terms = -exponent / 2 * np.log(square)
    share = np.exp(terms - terms.max())
    total = share.sum()
    slope = -2 * exponent * ((share / square)[:, :, None] * apart).sum(axis=1) / total
    return float(terms.max() + np.log(total)), slope


def _relax(points: FloatArray, fixed: int, lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, float]:
    """Go down the energy by projected gradient; the first `fixed` points stay."""
    exponent = float(points.shape[1] ** 2)  # as in Blank et al. 2021
    value, slope = energy(points, exponent)
    step = 0.1 / max(np.abs(slope).max(), 1e-12)
    for _ in range(STEPS):
        moved = points.copy()
        moved[fixed:] = _project((points - step * slope)[fixed:], lower, upper)
        new, new_slope = energy(moved, exponent)
        change = np.abs(moved - points).max()
        if new < value:
            points, value, slope, step = moved, new, new_slope, step * 1.5
        else:
            step *= 0.4
        if change < 1e-9:
            break
    return points, value


def _project(points: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Return the nearest points with sum 1 within the bounds: clip(x - t), the sum being piecewise linear in t."""
    if not len(points):
        return points
    knots = np.sort(np.concatenate([points - lower, points - upper], axis=1), axis=1)
    sums = np.clip(points[:, None, :] - knots[:, :, None], lower, upper).sum(axis=2)  # falls along the knots
    before = np.clip((sums >= 1.0).sum(axis=1) - 1, 0, knots.shape[1] - 2)
    row = np.arange(len(points))
    high, low = sums[row, before], sums[row, before + 1]
    part = np.divide(high - 1.0, high - low, out=np.zeros_like(high), where=high > low)
    shift = knots[row, before] + part * (knots[row, before + 1] - knots[row, before])
    return np.clip(points - shift[:, None], lower, upper)
