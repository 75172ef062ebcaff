"""Trainable tensors that lead with `member`: what snapshots, restores and gathers mean for every policy."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError, UnknownNameError, nearest
from moalign.mates import ALONE, Mates
from moalign.records import Snapshot, Stacked


class StackedMembers:
    """Members' names and their tensors, position for position.

    >>> both = StackedMembers(["a", "b"], {"x": torch.tensor([1.0, 2.0])})
    >>> both.gather([1, 1], ["b", "c"]); both.members, both.tensors["x"].tolist()
    (('b', 'c'), [2.0, 2.0])
    """

    members: tuple[str, ...]
    tensors: dict[str, Tensor]
    mates: Mates = ALONE  # the processes that rows are split among

    def __init__(self, members: Sequence[str], tensors: Mapping[str, Tensor]):
        self._adopt(members, tensors)

    def _adopt(self, members: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
        self.members = checked_names(members)
        self.tensors = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}

    def position(self, member: str) -> int:
        """Return where the member of that name stands."""
        return positions([member], self.members)[0]

    def parameters(self) -> dict[str, Stacked]:
        """Return the trainable leaves; an update writes into them in place."""
        return {name: Stacked(tensor, 0) for name, tensor in self.tensors.items()}

    def summed(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Return each tensor's sum over the processes that rows are split among."""
        return self.mates.summed(parts)

    def snapshot(self, members: Sequence[str] | None = None) -> Snapshot:
        """Return copies of these members' tensors (of all members by default)."""
        names = self.members if members is None else tuple(members)
        index = positions(names, self.members)
        return Snapshot(names, {name: tensor.detach()[index].clone() for name, tensor in self.tensors.items()})

    def restore(self, snapshot: Snapshot) -> None:
        """Write a snapshot's tensors into the members of the same names; the other members stay as they are."""
        index = positions(snapshot.members, self.members)
        for name, tensor in self.tensors.items():
            if name not in snapshot.tensors:
                raise ConfigError(f"`snapshot` has no tensor `{name}`; restore one that this kind of policy made.")
            value = snapshot.tensors[name]
            if value.shape[1:] != tensor.shape[1:]:
                raise ConfigError(
                    f"`snapshot` holds `{name}` of shape {list(value.shape[1:])} per member, the policy "
                    f"{list(tensor.shape[1:])}; build the policy with the options the snapshot was made with."
                )
            tensor.data[index] = value.to(tensor)

    def gather(self, parents: Sequence[int], names: Sequence[str]) -> None:
        """Make member i a copy of the present member `parents[i]`, called `names[i]`: clone, drop and reorder."""
        if len(parents) != len(names):
            raise ConfigError(f"`names` has {len(names)} entries for {len(parents)} `parents`; pass one for each.")
        index = torch.tensor(list(parents), dtype=torch.long)
        self._adopt(names, {name: tensor.detach()[index].clone() for name, tensor in self.tensors.items()})


def positions(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Return where each name stands in `known`.

    >>> positions(["b", "a"], ["a", "b", "c"])
    [1, 0]
    """
    place = {name: i for i, name in enumerate(known)}
    for name in names:
        if name not in place:
            raise UnknownNameError(f"there is no member `{name}`{nearest(name, known)}")
    return [place[name] for name in names]


def checked_names(members: Sequence[str]) -> tuple[str, ...]:
    """Return the names as a tuple, or raise `ConfigError` when they are empty or not unique."""
    names = tuple(members)
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"`members` must be at least one name and all different, found {list(names)}; rename them.")
    return names


def averaged(
    tensors: Mapping[str, Tensor], weights: Float[Tensor, "point member"], names: Sequence[str]
) -> dict[str, Tensor]:
    """Return Σ w[k]·tensor[k] for each row of `weights`.

    >>> averaged({"x": torch.tensor([0.0, 4.0])}, torch.tensor([[0.75, 0.25]]), ["soup"])["x"].tolist()
    [1.0]
    """
    check_weights(weights, len(next(iter(tensors.values()))), names)
    return {name: torch.tensordot(weights.to(x.dtype), x.detach(), 1) for name, x in tensors.items()}


def check_weights(weights: Float[Tensor, "point column"], members: int, names: Sequence[str]) -> None:
    """Raise `ConfigError` unless `weights` has a row for each of `names` and a column for each member."""
    if weights.shape != (len(names), members):
        raise ConfigError(
            f"`weights` has shape {list(weights.shape)}; pass one row for each of {len(names)} `names` and one column "
            f"for each of {members} members."
        )
