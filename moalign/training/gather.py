"""Clone, drop and reorder members: one gather of everything that leads with ``member``."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from moalign.errors import ConfigError
from moalign.records import State


def gather_state(state: State, parents: Sequence[int]) -> State:
    """Return the state whose member i is a copy of the old member ``parents[i]``; nested dicts are followed.

    >>> gather_state({"weighting": {"mean": torch.tensor([0.1, 0.2])}}, [1, 1, 0])
    {'weighting': {'mean': tensor([0.2000, 0.2000, 0.1000])}}
    """
    sizes = {path: tuple(tensor.shape[:1]) for path, tensor in _tensors(state)}
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


def _tensors(value: Any, path: str = "") -> list[tuple[str, Tensor]]:
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in _tensors(item, f"{path}.{key}" if path else str(key))]
    return [(path, value)] if isinstance(value, Tensor) else []
