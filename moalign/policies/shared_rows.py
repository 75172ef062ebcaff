"""Rows of the same members split among processes: who samples and trains which, and everybody's samples together."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad

from moalign.mates import Mates, host, owner
from moalign.records import Requests, Rows, Samples


def own_groups(rows: Rows, mates: Mates) -> Rows:
    """Return the rows with only those of this process's groups kept."""
    if mates.parts == 1 or not len(rows):
        return rows
    mine = owner(rows.group, int(rows.group.max()) + 1, mates.parts) == mates.part
    return replace(rows, keep=rows.keep & mine)


def shared(mates: Mates, requests: Requests, complete: Callable[[Requests], Samples]) -> Samples:
    """Complete each member's requests in stretches, one for each process, and return everybody's completions.

    With an engine that draws by `Requests.place`, they are those of one process.
    """
    if mates.parts == 1:
        return complete(requests)
    place, count = places(requests.member)
    own = (owner(place, count, mates.parts) == mates.part).nonzero().flatten()
    found = complete(replace(requests, place=place).select(own)) if len(own) else None
    told = mates.exchange(host({"own": own, **({} if found is None else vars(found))}))
    device, many = requests.member.device, len(requests.member) * requests.n
    tokens = torch.zeros(many, requests.max_new_tokens, dtype=torch.long, device=device)
    mask, logprobs = torch.zeros_like(tokens, dtype=torch.bool), torch.zeros(tokens.shape, device=device)
    finished = torch.zeros(many, dtype=torch.bool, device=device)
    for said in told:
        if "tokens" not in said:
            continue
        rows = (said["own"][:, None] * requests.n + torch.arange(requests.n)).flatten()
        wide = requests.max_new_tokens - said["tokens"].shape[1]
        for all_of, name in ((tokens, "tokens"), (mask, "completion_mask"), (logprobs, "logprobs")):
            all_of[rows] = pad(said[name], (0, wide)).to(device)
        finished[rows] = said["finished"].to(device)
    return Samples(tokens, mask, logprobs, finished)


def places(member: Int[Tensor, "request"]) -> tuple[Int[Tensor, "request"], Int[Tensor, "request"]]:
    """Return each request's number among its member's, and how many its member has.

    >>> [x.tolist() for x in places(torch.tensor([0, 0, 2, 2, 2]))]
    [[0, 1, 0, 1, 2], [2, 2, 3, 3, 3]]
    """
    order = member.argsort(stable=True)
    counts = member.bincount()
    start = (counts.cumsum(0) - counts)[member[order]]
    place = torch.empty_like(member)
    place[order] = torch.arange(len(member), device=member.device) - start
    return place, counts[member]
