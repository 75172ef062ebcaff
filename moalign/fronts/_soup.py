"""A soup: a mean of the models of some points, as a point of its own."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from moalign.errors import ConfigError
from moalign.fronts._files import ADAPTER
from moalign.fronts._point import Point
from moalign.runs.atomic import AGAIN, whole_directory


def soup(points: Sequence[Point], shares: Mapping[str, float | int], to: Path | None) -> Point:
    r"""Return the point whose adapter is :math:`\sum_k` ``shares[k]`` :math:`\cdot B_k A_k`, exact in the product.

    Its files are written to `to`, by default beside the points'. Its values are not known: nothing has valued it.
    Ramé et al. 2023, arXiv:2306.04488.
    """
    from moalign.policies import mix_adapters

    if not shares or any(share < 0 for share in shares.values()) or abs(math.fsum(shares.values()) - 1) > 1e-6:
        raise ConfigError(f"`shares` must be non-negative and sum to 1, got {dict(shares)}.")
    by_id = {point.id: point for point in points}
    paths = {by_id[id].files(): float(share) for id, share in shares.items()}
    whole = [str(path) for path in paths if not (path / ADAPTER).exists()]
    if whole:
        raise ConfigError(f"soups are made of adapters, and {', '.join(whole)} holds a whole model.")
    told = [point.id for point in points if point.prefix]
    if told:
        raise ConfigError(f"{', '.join(told)} are one adapter behind different prefixes; there is nothing to mix.")
    name = "+".join(f"{share:g}{id}" for id, share in shares.items())
    if to is not None and to.exists() and any(to.iterdir()):
        raise ConfigError(f"`to` {str(to)!r} is not empty; write the soup to a new directory.")
    own = next(iter(paths)).parent / f"soup-{name}"
    with whole_directory(to or own, replace=to is None, rest=AGAIN) as partial:
        mix_adapters(paths, partial)
    unknown = dict.fromkeys(next(iter(by_id.values())).values, math.nan)
    wish = {
        name: math.fsum(share * by_id[id].preference.get(name, 0.0) for id, share in shares.items()) for name in unknown
    }
    return Point(id=name, values=unknown, stderr=unknown, preference=wish, kind="soup", path=to or own)
