"""A sample of each checkpointed step's completions, to read: what was answered, what it earned, how it was credited."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.objectives import Objective
from moalign.records import Credit, Rows


def kept_rollouts(
    rows: Rows, credit: Credit, *, members: Sequence[str], objectives: Sequence[Objective], groups: int
) -> list[dict[str, Any]]:
    """Return the completions of each member's first `groups` groups, one dict each.

    Rewards are columns ``reward/<objective>``, in own units, None where one does not apply. ``advantage`` is the mean
    over the completion's tokens; with a channel per objective there is one for each, ``advantage/<objective>``.
    """
    chosen = (rows.group < groups).nonzero().flatten()
    advantages = _per_row(rows, credit).index_select(0, chosen).tolist()
    single = credit.advantages.shape[2] == 1
    titles = ["advantage"] if single else [f"advantage/{o.name}" for o in objectives]
    found = []
    for i, row in enumerate(chosen.tolist()):
        line: dict[str, Any] = {
            "member": members[int(rows.member[row])],
            "group": int(rows.group[row]),
            "prompt_id": int(rows.prompt_id[row]),
            **{name: _at(rows, name, row) for name in ("prompt", "completion", "finished")},
            "kept": bool(rows.keep[row]),
        }
        if rows.rewards is not None:
            values, valid = rows.rewards.values[row].tolist(), rows.rewards.valid[row].tolist()
            line |= {f"reward/{o.name}": o.flip(v) if ok else None for o, v, ok in zip(objectives, values, valid)}
        found.append(line | dict(zip(titles, advantages[i])))
    return found


def _per_row(rows: Rows, credit: Credit) -> Float[Tensor, "row channel"]:
    mask = rows.train_mask[:, : credit.advantages.shape[1], None]
    total = torch.where(mask, credit.advantages, 0.0).sum(dim=1)
    return total / mask.sum(dim=1).clamp(min=1)


def _at(rows: Rows, name: str, row: int) -> Any:
    column = rows.columns.get(name)
    return None if column is None else column[row]
