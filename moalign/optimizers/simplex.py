"""Preferences: points on the simplex, where weights are not negative and sum to 1."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import comb

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError, UnknownNameError, nearest
from moalign.optimizers import _riesz
from moalign.optimizers._moocore import FloatArray


def das_dennis(objectives: int, divisions: int) -> Float[Tensor, "point objective"]:
    """Return the lattice of all weights that are multiples of 1 / `divisions`.

    There are C(divisions + objectives - 1, divisions) of them. Das and Dennis 1998,
    https://doi.org/10.1137/S1052623496307510.

    >>> das_dennis(2, 2)
    tensor([[1.0000, 0.0000],
            [0.5000, 0.5000],
            [0.0000, 1.0000]])
    """
    _check_count(objectives, "objectives")
    _check_count(divisions, "divisions")
    return _tensor(_lattice(objectives, divisions))


def riesz(
    objectives: int,
    points: int,
    *,
    seed: int = 0,
    lower: Float[Tensor, "objective"] | None = None,
    upper: Float[Tensor, "objective"] | None = None,
) -> Float[Tensor, "point objective"]:
    r"""Return `points` well-spread weights: of least Riesz energy, :math:`\sum_{i \ne j} |w_i - w_j|^{-m^2}`.

    :math:`m` is ``objectives``. They lie on the simplex within ``lower`` and ``upper``, sorted, first objective first,
    largest first. The corners of that region are among them when they all fit; a single point is the corners' mean.
    On a segment (two objectives, or bounds that leave one) they are equally spaced; a region that is one point gives it
    ``points`` times. The same arguments give the same points. With fewer points than corners some corners stay empty.

    Exchanging objectives exchanges the set where it is unique (two objectives, or a Das-Dennis lattice); otherwise it
    may give another set of about equal energy, which is why `Simplex` sorts objectives by name first. Blank, Deb,
    Dhebar, Bandaru and Seada 2021, https://doi.org/10.1109/TEVC.2020.2992387.

    >>> riesz(2, 3, lower=torch.tensor([0.2, 0.0]))
    tensor([[1.0000, 0.0000],
            [0.6000, 0.4000],
            [0.2000, 0.8000]])
    """
    _check_count(objectives, "objectives")
    _check_count(points, "points")
    low, high = _bound(lower, 0.0, objectives, "lower"), _bound(upper, 1.0, objectives, "upper")
    corners = _riesz.vertices(low, high)
    if not len(corners):
        raise ConfigError(
            f"`lower` {low.round(6).tolist()} and `upper` {high.round(6).tolist()} leave no weights that sum to 1; "
            f"the lower bounds may sum to at most 1, the upper ones to at least 1, none may cross."
        )
    if points == 1:
        return _tensor(corners.mean(axis=0, keepdims=True))
    if len(corners) <= 2:
        return _tensor(np.linspace(corners[0], corners[-1], points))
    starts = [_riesz.random_start(corners, points, np.random.default_rng([seed, i])) for i in range(_riesz.STARTS)]
    divisions = next(d for d in range(1, points + 1) if comb(d + objectives - 1, d) >= points)
    if len(corners) == objectives and comb(divisions + objectives - 1, divisions) == points:
        lattice = _lattice(objectives, divisions) @ corners  # a smaller simplex has the same lattice
        inner = lattice[(np.abs(lattice[:, None] - corners[None]).max(axis=2) > _riesz.MERGE).all(axis=1)]
        starts.insert(0, np.concatenate([corners, inner]))
    return _tensor(_riesz.ordered(_riesz.spread(corners, low, high, points, starts)))


def sample_dirichlet(
    objectives: int, points: int, *, alpha: float = 1.0, generator: torch.Generator
) -> Float[Tensor, "point objective"]:
    """Return random weights from a symmetric Dirichlet distribution: uniform at `alpha` 1, near the corners below it.

    >>> weights = sample_dirichlet(3, 100, generator=torch.Generator().manual_seed(0))
    >>> weights.shape, bool(weights.min() >= 0)
    (torch.Size([100, 3]), True)
    """
    _check_count(objectives, "objectives")
    if not 0.0 < alpha < float("inf"):
        raise ConfigError(f"`alpha` must be positive, found {alpha}; 1 is uniform.")
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))  # torch's takes no generator
    return _tensor(np.random.default_rng(seed).dirichlet(np.full(objectives, alpha), size=points))


def check_on_simplex(
    weights: Float[Tensor, "*batch objective"], *, name: str = "weights", tolerance: float = 1e-4
) -> None:
    """Raise `ConfigError` unless every row of `weights` is finite, not negative, and sums to 1 within `tolerance`.

    >>> check_on_simplex(torch.tensor([[0.5, 0.5], [0.5, 0.6]]), name="preferences")
    Traceback (most recent call last):
    moalign.errors.ConfigError: `preferences[1]` must be >= 0 and sum to 1, found [0.5, 0.6]; divide it by its sum.
    """
    rows = weights.reshape(-1, weights.shape[-1])
    wrong = ~((rows >= 0).all(dim=1) & ((rows.sum(dim=1) - 1).abs() <= tolerance))  # NaN compares false
    if wrong.any():
        i = int(wrong.nonzero()[0])
        found = [round(value, 6) for value in rows[i].tolist()]
        where = name if weights.ndim == 1 else f"{name}[{i}]"
        raise ConfigError(f"`{where}` must be >= 0 and sum to 1, found {found}; divide it by its sum.")


@dataclass(frozen=True)
class Simplex:
    """Well-spread preferences with, for each objective by name, a least and a greatest weight.

    The order in which objectives are named changes nothing but the order of the columns.

    >>> Simplex(min={"safe": 0.5}).points(["helpful", "safe"], 3)
    tensor([[0.5000, 0.5000],
            [0.2500, 0.7500],
            [0.0000, 1.0000]])
    """

    min: Mapping[str, float] = field(default_factory=dict)
    max: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for field_name, bounds in (("min", self.min), ("max", self.max)):
            for name, value in bounds.items():
                if not 0.0 <= value <= 1.0:
                    raise ConfigError(f"`{field_name}[{name!r}]` must be in [0, 1], found {value}.")
        for name in self.min.keys() & self.max.keys():
            if self.min[name] > self.max[name]:
                raise ConfigError(
                    f"`min[{name!r}]` is {self.min[name]} and `max[{name!r}]` {self.max[name]}; no weight lies between."
                )

    def points(self, names: Sequence[str], count: int, seed: int = 0) -> Float[Tensor, "point objective"]:
        """Return `count` preferences, columns in the order of `names`; see `riesz`."""
        for name in (*self.min, *self.max):
            if name not in names:
                raise UnknownNameError(f"`Simplex` bounds `{name}`, which is no objective{nearest(name, names)}")
        least, most = sum(self.min.get(n, 0.0) for n in names), sum(self.max.get(n, 1.0) for n in names)
        if least > 1.0 + _riesz.MERGE or most < 1.0 - _riesz.MERGE:
            which, total = ("min", least) if least > 1.0 else ("max", most)
            raise ConfigError(
                f"`{which}` bounds sum to {total:.6g} over {', '.join(names)}, but weights sum to 1; "
                f"{'lower' if which == 'min' else 'raise'} some of them."
            )
        canonical = sorted(names)
        weights = riesz(
            len(names),
            count,
            seed=seed,
            lower=torch.tensor([self.min.get(n, 0.0) for n in canonical], dtype=torch.float64),
            upper=torch.tensor([self.max.get(n, 1.0) for n in canonical], dtype=torch.float64),
        )
        return weights[:, [canonical.index(n) for n in names]]


def _lattice(objectives: int, divisions: int) -> FloatArray:
    if objectives == 1:
        return np.ones((1, 1))
    from pymoo.util.ref_dirs import get_reference_directions

    return _riesz.ordered(get_reference_directions("das-dennis", objectives, n_partitions=divisions))


def _bound(bound: Tensor | None, default: float, objectives: int, name: str) -> FloatArray:
    if bound is None:
        return np.full(objectives, default)
    if len(bound) != objectives or not ((bound >= 0) & (bound <= 1)).all():
        raise ConfigError(
            f"`{name}` must be {objectives} numbers in [0, 1], found {bound.tolist()}; one per objective."
        )
    return bound.detach().to("cpu", torch.float64).numpy().copy()


def _check_count(value: int, name: str) -> None:
    if value < 1:
        raise ConfigError(f"`{name}` must be at least 1, found {value}.")


def _tensor(array: FloatArray) -> Tensor:
    return torch.as_tensor(array).to(torch.get_default_dtype())
