"""Members divided among processes: a share of everything that leads with ``member``, and the whole of it again.

The controller's state is not divided: every process holds all of it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from moalign.errors import ConfigError
from moalign.mates import host
from moalign.records import Metrics, Policy, State
from moalign.rewards.scorer import is_count
from moalign.training.gather import gather_state
from moalign.training.ranks import Ranks
from moalign.training.session import resume_from

Saved = dict[str, Any]  # what a checkpoint holds: policy, state, members


def refuse_idle(members: int, prompts: int, ranks: Ranks) -> None:
    """Raise `ConfigError` when there are more processes than prompts of a step to divide, over all members."""
    if members * prompts < ranks.size:
        raise ConfigError(
            f"{ranks.size} processes for {members} trained member{'s' * (members != 1)} and {prompts} prompts of a "
            f"step: start at most {members * prompts}, or raise `members` or `prompts_per_step`."
        )


def share_of(policy: Policy, state: State) -> Saved:
    """Return what this process has to add to a checkpoint."""
    own = {name: value for name, value in state.items() if name != "weighting"}
    return host({"policy": dict(policy.snapshot().tensors), "state": own, "members": list(policy.members)})


def joined(shares: Sequence[Saved], state: State) -> Saved:
    """Return the checkpoint that shares add up to; `state` has the controller's."""
    found = stacked(shares)
    return {**found, "state": {**found["state"], "weighting": state["weighting"]}}


def cut(saved: Saved, ranks: Ranks) -> Saved:
    """Return this process's share of a checkpoint."""
    own = list(ranks.share(len(saved["members"])))
    if ranks.size == 1:
        return saved
    return {
        "policy": gather_state(saved["policy"], own),
        "state": cut_state(saved["state"], own),
        "members": [saved["members"][k] for k in own],
    }


def cut_state(state: State, own: Sequence[int]) -> State:
    """Return the state of these members, with the controller's whole."""
    divided = {name: value for name, value in state.items() if name != "weighting"}
    return {**gather_state(divided, own), "weighting": state["weighting"]}


def light(state: State) -> State:
    """Return the state without what an optimizer keeps, which is larger than the members themselves."""
    return {**state, "update": {name: value for name, value in state["update"].items() if name == "active"}}


def take_all(policy: Policy, state: State, ranks: Ranks) -> State:
    """Put all members into this process's policy, and return their state."""
    if ranks.size == 1:
        return state
    return resume_from(policy, joined(ranks.each(share_of(policy, state)), state))


def stacked(parts: Sequence[Any]) -> Any:
    """Join what processes said: tensors and sequences one behind the other, dicts name by name.

    >>> stacked([{"x": torch.tensor([1.0]), "names": ("a",)}, {"x": torch.tensor([2.0, 3.0]), "names": ("b", "c")}])
    {'x': tensor([1., 2., 3.]), 'names': ('a', 'b', 'c')}
    """
    if isinstance(parts[0], dict):
        return {name: stacked([part[name] for part in parts]) for name in parts[0]}
    return torch.cat(list(parts)) if isinstance(parts[0], Tensor) else sum(parts[1:], parts[0])


def stacked_metrics(parts: Sequence[Metrics], members: Sequence[int], rows: Sequence[int]) -> Metrics:
    """Join metrics: NaN for members of which a process says nothing, a mean over rows of what is said of no member.

    Timeouts are summed.

    >>> a, b = {"kl": torch.tensor([1.0]), "valid": torch.tensor(0.5)}, {"valid": torch.tensor(1.0)}
    >>> stacked_metrics([a, b], members=[1, 2], rows=[30, 10])
    {'kl': tensor([1., nan, nan]), 'valid': tensor(0.6250)}
    """
    found: Metrics = {}
    for name, known in {name: value for part in parts for name, value in part.items()}.items():
        if known.ndim:
            nothing = [torch.full((many, *known.shape[1:]), torch.nan, device=known.device) for many in members]
            found[name] = torch.cat([part.get(name, empty).float() for part, empty in zip(parts, nothing)])
        elif is_count(name):
            found[name] = torch.stack([part[name] for part in parts if name in part]).sum()
        else:
            said = [(part[name] * count, count) for part, count in zip(parts, rows) if name in part]
            found[name] = torch.stack([value for value, _ in said]).sum() / max(sum(count for _, count in said), 1)
    return found
