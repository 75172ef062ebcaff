"""Gradients as directions and lengths, in double precision: what every mixer beyond the simplest starts from."""

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.errors import ConfigError


@dataclass(frozen=True)
class Angles:
    """Gradients of the channels in use; one without a positive preference, or whose gradient is zero, is not.

    Gradients are scaled to length 1, or the shortest one would drown in the rounding of the longest. Where a channel is
    not in use its row and column of ``cosine`` are the identity's, its ``length`` is 1 and its ``wish`` 0.
    """

    cosine: Float[Tensor, "*batch channel channel"]
    length: Float[Tensor, "*batch channel"]
    wish: Float[Tensor, "*batch channel"]  # the preferences
    used: Bool[Tensor, "*batch channel"]
    finite: Bool[Tensor, "*batch 1"]  # whether the member's numbers were
    noise: float  # rounding of the inner products, relative to the squared length


def angles(gram: Float[Tensor, "*batch channel channel"], preferences: Float[Tensor, "*batch channel"]) -> Angles:
    """Return lengths and cosines of the gradients with these inner products."""
    finite = (gram.isfinite().all(dim=-1) & preferences.isfinite()).all(dim=-1, keepdim=True)
    exact = torch.where(finite.unsqueeze(-1), gram.double(), 0.0)
    length = exact.diagonal(dim1=-2, dim2=-1).clamp(min=0.0).sqrt()
    used = (preferences > 0) & (length > 0)
    length = torch.where(used, length, 1.0)
    eye = torch.eye(gram.shape[-1], dtype=torch.double, device=gram.device)
    both = used.unsqueeze(-1) & used.unsqueeze(-2)
    cosine = torch.where(both, exact / length.unsqueeze(-1) / length.unsqueeze(-2), eye)
    wish = torch.where(used, preferences.double(), 0.0)
    return Angles(cosine, length, wish, used, finite, gram.shape[-1] * torch.finfo(gram.dtype).eps)


def weights_of(
    amounts: Float[Tensor, "*batch channel"], at: Angles, preferences: Float[Tensor, "*batch channel"]
) -> Float[Tensor, "*batch channel"]:
    """Return the weights that give each direction its amount: NaN where a member's numbers were not finite."""
    weights = torch.where(at.used, amounts / at.length, 0.0)
    return torch.where(at.finite, weights, torch.nan).to(preferences.dtype)


def times(
    matrix: Float[Tensor, "*#batch row column"], vector: Float[Tensor, "*#batch column"]
) -> Float[Tensor, "*batch row"]:
    """Return each matrix times its vector."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def inverse_times(at: Angles, vector: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
    """Return the cosines' pseudo-inverse times a vector; what rounding cannot tell from dependent counts as such."""
    values, vectors = torch.linalg.eigh(at.cosine)
    known = values > values[..., -1:] * at.noise
    part = times(vectors.mT, vector)
    return times(vectors, torch.where(known, part / torch.where(known, values, 1.0), 0.0))


def inverses(at: Angles, ridge: float = 1e-11) -> Float[Tensor, "*batch set channel channel"]:
    """Return for every set of channels the inverse of its cosines, and zeros for who is not in it.

    The ridge, at least as large as the rounding, settles sets of linearly dependent gradients.
    """
    eye = torch.eye(at.cosine.shape[-1], dtype=torch.double, device=at.cosine.device)
    sets = subsets(at.cosine.shape[-1], at.cosine.device) & at.used.unsqueeze(-2)
    inside = sets.unsqueeze(-1) & sets.unsqueeze(-2)
    matrix = torch.where(inside, (at.cosine + max(ridge, at.noise) * eye).unsqueeze(-3), eye)
    return torch.where(inside, torch.linalg.inv_ex(matrix).inverse, 0.0)


@functools.cache
def subsets(channels: int, device: torch.device) -> Bool[Tensor, "set channel"]:
    """Return all sets of channels but the empty one, large ones first."""
    numbers = torch.arange(1, 2**channels, device=device)
    sets = (numbers.unsqueeze(-1) >> torch.arange(channels, device=device)) & 1
    return sets[sets.sum(dim=-1).argsort(descending=True, stable=True)].bool()


def at_most(channels: int, most: int, name: str) -> None:
    """Raise `ConfigError` where a mixer's work, which grows exponentially, would not end."""
    if channels > most:
        raise ConfigError(f"`{name}` mixes at most {most} channels, found {channels}; use `linear`.")
