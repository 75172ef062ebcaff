"""Clone, drop and reorder members: one gather of everything that leads with ``member``."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from moalign.errors import ConfigError
from moalign.records import Policy, State


def clone(policy: Policy, state: State, parents: Sequence[int], *, step: int) -> tuple[Policy, State, range]:
    """Append a copy of each of these members, state included; return also where the copies stand.

    The n-th copy of a member is called ``<member>.<n>``. The state keeps at which step each was ``born``, -1: at first.
    """
    old = policy.members
    if not parents:
        return policy, state, range(len(old), len(old))
    names = [f"{old[parent]}.{list(parents[: i + 1]).count(parent)}" for i, parent in enumerate(parents)]
    every = [*range(len(old)), *parents]
    policy.gather(every, [*old, *names])
    state = gather_state({**state, "breed": {"born": torch.full((len(old),), -1), **state["breed"]}}, every)
    state["breed"]["born"][len(old) :] = step
    return policy, state, range(len(old), len(every))


def gather_state(state: State, parents: Sequence[int]) -> State:
    """Return the state whose member i is a copy of the old member ``parents[i]``; nested dicts are followed.

    >>> gather_state({"weighting": {"mean": torch.tensor([0.1, 0.2])}}, [1, 1, 0])
    {'weighting': {'mean': tensor([0.2000, 0.2000, 0.1000])}}
    """
    sizes = {path: tuple(tensor.shape[:1]) for path, tensor in tensors_of(state)}
    for path, size in sizes.items():
        if size != next(iter(sizes.values())) or not size:
            raise ConfigError(
                f"`state` has a tensor at {path} with leading shape {size}; members can be cloned only if every tensor "
                "of the state leads with member."
            )
    return _gathered(state, list(parents))


def _gathered(value: Any, parents: list[int]) -> Any:
    if isinstance(value, dict):
        return {key: _gathered(item, parents) for key, item in value.items()}
    return value[torch.tensor(parents, device=value.device)] if isinstance(value, Tensor) else value


def tensors_of(value: Any, path: str = "") -> list[tuple[str, Tensor]]:
    """Return the tensors of nested dicts, each with its path."""
    if isinstance(value, dict):
        below = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
        return [found for place, item in below for found in tensors_of(item, place)]
    return [(path, value)] if isinstance(value, Tensor) else []
