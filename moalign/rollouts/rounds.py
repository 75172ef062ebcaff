"""A further round of completions for some groups of a batch, and two rounds as one batch."""

from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad

from moalign.records import Policy, Prompts, Requests, Rewards, Rows, Stream
from moalign.rollouts.collect import rows_of


def ask_again(
    policy: Policy, rows: Rows, again: Bool[Tensor, "member prompt"], *, stream: Stream, n: int, max_new_tokens: int
) -> Rows:
    """Let members complete the prompts of the groups marked in `again` `n` more times.

    `rows` are those of the first round as they were before scoring; the new ones have their member and group numbers.
    """
    first = ((rows.slots()[0] == 0) & again[rows.member, rows.group]).nonzero()[:, 0]
    columns = {name: [column[i] for i in first.tolist()] for name, column in rows.columns.items()}
    prompts = Prompts(rows.prompt_id[first], rows.prompt_tokens[first], rows.prompt_mask[first], columns)
    requests = Requests(rows.member[first], prompts.tokens, prompts.mask, n, max_new_tokens, rows.temperature[first])
    samples = policy.sample(requests, stream=stream)
    drawn = rows_of(prompts, samples, members=1, per_prompt=n, temperature=rows.temperature[:1])
    line = first.repeat_interleave(n)
    whose = {"member": rows.member[line], "group": rows.group[line], "temperature": rows.temperature[line]}
    return replace(drawn, members=rows.members, **whose)


def joined(rows: Rows, more: Rows) -> Rows:
    """Return the rows of both, a group's together, earlier ones first; a column that only one has is None elsewhere."""
    new: dict[str, Any] = {}
    for f in fields(Rows):
        a, b = getattr(rows, f.name), getattr(more, f.name)
        if isinstance(a, Tensor):
            new[f.name] = _stacked(a, b, left=f.name.startswith("prompt_"))
        elif isinstance(a, Rewards):
            new[f.name] = replace(a, values=_stacked(a.values, b.values), valid=_stacked(a.valid, b.valid))
    whole = replace(rows, **new)
    order = (whole.member * (whole.group.max() + 1) + whole.group).argsort(stable=True)
    columns = {
        name: [*rows.columns.get(name, [None] * len(rows)), *more.columns.get(name, [None] * len(more))]
        for name in {**rows.columns, **more.columns}
    }
    return reordered(replace(whole, columns=columns), order)


def reordered(rows: Rows, order: Int[Tensor, "row"]) -> Rows:
    """Return the whole batch in another order, its columns too."""
    columns = {name: [column[i] for i in order.tolist()] for name, column in rows.columns.items()}
    return replace(rows.select(order), index=torch.arange(len(order), device=order.device), columns=columns)


def _stacked(a: Tensor, b: Tensor, *, left: bool = False) -> Tensor:
    """Return the rows of both, padded to one width: on the right, or on the `left` as prompts are."""
    if a.ndim == 2:
        width = max(a.shape[1], b.shape[1])
        a, b = (pad(x, (width - x.shape[1], 0) if left else (0, width - x.shape[1])) for x in (a, b))
    return torch.cat([a, b])
