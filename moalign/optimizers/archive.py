"""An archive of the non-dominated points seen so far."""

from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.dominance import non_dominated
from moalign.optimizers.hypervolume import hypervolume


class ParetoArchive:
    """The non-dominated points among all that were added, and their hypervolume.

    The hypervolume of an archive never falls, and where points are noisy means it rises by luck alone: an archive of
    noisy maxima is a training curve and not a result. A result is a set chosen on one split and valued on another.

    >>> archive = ParetoArchive(torch.zeros(2))
    >>> archive.add(torch.tensor([[1.0, 2.0], [1.0, 1.0]]), ["a", "b"])
    tensor([ True, False])
    >>> archive.add(torch.tensor([[2.0, 1.0]]), ["c"])
    tensor([True])
    >>> archive.ids, archive.hypervolume
    (('a', 'c'), 3.0)
    """

    def __init__(self, reference: Float[Tensor, "objective"]):
        if not reference.isfinite().all():
            raise ConfigError(f"`reference` must be finite, found {reference.tolist()}; pass one number per objective.")
        self.reference = reference
        self._values = reference.new_zeros((0, len(reference)))
        self._ids: tuple[Hashable, ...] = ()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, values: Float[Tensor, "point objective"], ids: Sequence[Hashable]) -> Bool[Tensor, "point"]:
        """Add points with their ids, drop what is dominated, and return which of the new ones are in.

        Of equal points the first one stays.
        """
        if len(ids) != len(values):
            raise ConfigError(f"`ids` has {len(ids)} entries for {len(values)} points; pass one per point.")
        if values.shape[1] != len(self.reference):
            raise ConfigError(
                f"`values` has {values.shape[1]} objectives and the archive {len(self.reference)}; pass the same ones."
            )
        everything = torch.cat([self._values, values.detach().to(self._values)])
        keep = non_dominated(everything, keep_duplicates=False)
        new = keep[len(self._ids) :]
        self._ids = tuple(name for name, kept in zip((*self._ids, *ids), keep.tolist()) if kept)
        self._values = everything[keep]
        return new

    @property
    def values(self) -> Float[Tensor, "point objective"]:
        return self._values

    @property
    def ids(self) -> tuple[Hashable, ...]:
        return self._ids

    @property
    def hypervolume(self) -> float:
        return hypervolume(self._values, self.reference)
