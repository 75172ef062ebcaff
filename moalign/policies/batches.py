"""Rows in equal blocks per member, and micro-batches."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from moalign.records import Couples, Rows


def blocks(
    member: Int[Tensor, "row"],
) -> tuple[list[int], Int[Tensor, "block slot"], Bool[Tensor, "block slot"]]:
    """Lay rows out as one block of equal length per member present: members, row numbers, and which are not filler.

    A filler repeats the block's first row, so that every number is a valid row of that member.

    >>> members, row, real = blocks(torch.tensor([2, 0, 2]))
    >>> members, row.tolist(), real.tolist()
    ([0, 2], [[1, 1], [0, 2]], [[True, False], [True, True]])
    """
    order = torch.argsort(member, stable=True)
    present, counts = torch.unique(member, return_counts=True)
    start = counts.cumsum(0) - counts
    slot = torch.arange(int(counts.max()), device=member.device)
    real = slot < counts[:, None]
    return present.tolist(), order[torch.where(real, start[:, None] + slot, start[:, None])], real


def micro_batches(
    rows: Rows, *, couples: Couples, micro_rows: int | None = None, micro_members: int = 1
) -> Iterator[Rows]:
    """Yield the kept rows in parts: `micro_members` members at a time, at most `micro_rows` rows, coupled groups whole.

    Within a member, rows of similar length stand together, because a part is as wide as its longest row. A coupled
    group larger than `micro_rows` is a part of its own.
    """
    kept = rows.keep.nonzero().squeeze(1)
    lengths = rows.completion_mask.sum(1)
    units: dict[int, list[tuple[int, list[int]]]] = {}  # member -> (length, rows that stay together)
    if couples is Couples.GROUPS:
        groups: dict[tuple[int, int], list[int]] = {}
        for i, key in zip(kept.tolist(), zip(rows.member[kept].tolist(), rows.group[kept].tolist())):
            groups.setdefault(key, []).append(i)
        for (member, _), group in groups.items():
            units.setdefault(member, []).append((int(lengths[group].max()), group))
    else:
        for i, member, length in zip(kept.tolist(), rows.member[kept].tolist(), lengths[kept].tolist()):
            units.setdefault(member, []).append((length, [i]))
    present = sorted(units)
    for at in range(0, len(present), micro_members):
        together = present[at : at + micro_members]
        limit = None if micro_rows is None else max(micro_rows // len(together), 1)
        parts = [_cut(units[member], limit) for member in together]
        for j in range(max(map(len, parts))):
            index = sorted(i for part in parts for i in (part[j] if j < len(part) else []))
            yield rows.select(torch.tensor(index, device=rows.member.device))


def _cut(units: list[tuple[int, list[int]]], limit: int | None) -> list[list[int]]:
    """Return the rows of one member in parts of at most `limit`, shortest first."""
    parts: list[list[int]] = [[]]
    for _, unit in sorted(units, key=lambda unit: unit[0]):
        if limit is not None and parts[-1] and len(parts[-1]) + len(unit) > limit:
            parts.append([])
        parts[-1] += unit
    return parts
