"""Valuing divided among processes: each completes prompts with its share of what is offered."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from moalign.evaluation import Evaluation
from moalign.records import Policy
from moalign.training.ranks import Ranks


def share_of_offer(offered: Policy, temperature: Any, ranks: Ranks) -> tuple[Policy, Any]:
    """Return the behaviours that this process values, and their temperature; where there is none left, the first."""
    if ranks.size == 1:
        return offered, temperature
    own = list(ranks.share(len(offered.members))) or [0]
    part = copy.copy(offered)  # a policy's members and tensors are replaced by a gather, not written into
    part.gather(own, [offered.members[k] for k in own])
    return part, temperature[own] if isinstance(temperature, Tensor) else temperature


def everybodys(found: Evaluation, offered: Policy, ranks: Ranks) -> Evaluation:
    """Return the evaluation of all that is offered from what each process has found."""
    if ranks.size == 1:
        return found
    return joined([part for part in ranks.each(found if ranks.share(len(offered.members)) else None) if part])


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Return evaluations of different members on the same prompts as one."""
    warm = {part.temperature for part in parts}
    return Evaluation(
        names=parts[0].names,
        members=sum((part.members for part in parts), ()),
        scores=torch.cat([part.scores for part in parts]),
        valid=torch.cat([part.valid for part in parts]),
        split=parts[0].split,
        temperature=warm.pop() if len(warm) == 1 else None,
        samples=sum((part.samples for part in parts), ()),
    )
