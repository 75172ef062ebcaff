"""A further round of completions: who has solved what, asking some groups again, and two rounds as one batch."""

from dataclasses import fields, replace
from math import gcd
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad

from moalign.errors import ConfigError
from moalign.parts import check_names
from moalign.records import Policy, Prompts, Requests, Rewards, Rows, State, Stream
from moalign.rollouts.collect import rows_of


def solves(
    rows: Rows, state: State, now: Any, *, solved: float, objective: str = ""
) -> Bool[Tensor, "member prompt completion"]:
    """Tell which kept completions solve their prompt: those whose reward is at least `solved`.

    The reward is that of the named `objective`, or without a name the sum of all by the weights that the controller of
    the recipe `now` gives them; a missing one counts as 0.
    """
    if rows.rewards is None:
        raise ConfigError("Another round is asked for where rewards say so, and this environment gives none.")
    rewards, kept = rows.grid(rows.rewards.values)  # 0 where missing
    if objective:
        check_names([objective], rows.rewards.names, "objective")
        reward = rewards[..., rows.rewards.names.index(objective)]
    else:
        weights, _ = now.weighting.weigh(state["weighting"], rows)
        reward = (weights.to(rewards) * rewards).sum(dim=3)
    return kept & (reward >= solved - 1e-6)  # weights sum to 1 up to rounding


def ask_again(
    policy: Policy, rows: Rows, more: Int[Tensor, "member prompt"], *, stream: Stream, max_new_tokens: int
) -> Rows:
    """Let members complete their prompts again, each as many times as `more` says, which is not 0 everywhere.

    `rows` are those of the first round as they were before scoring; the new ones have their member and group numbers.
    """
    first = (rows.slots()[0] == 0).nonzero()[:, 0]
    wanted = more.to(rows.member.device)[rows.member[first], rows.group[first]]
    n = gcd(*wanted.tolist())  # requests share one `n`; the larger it is, the fewer times a prompt is read
    first = first.repeat_interleave(wanted // n)
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
