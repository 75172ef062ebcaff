"""Rows of the same members split among processes: what each does adds up to what one process does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from moalign.policies.drawing import seeds, uniforms
from moalign.records import Couples, Stream

STREAM = Stream(0, 3, "rollout")


@dataclass
class OneOf:
    """One of several processes, which hears nothing of the others."""

    part: int
    parts: int

    def exchange(self, value: Any) -> list[Any]:
        return [value]

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return list(tensors)


@pytest.mark.parametrize("parts", [2, 3])
def test_the_stretches_of_all_are_the_samples_of_one(lora, ask, parts: int) -> None:
    policy, requests = lora("a", "b"), ask(0, 1)
    whole = policy.sample(requests, stream=STREAM)
    tokens, mask, finished = torch.zeros_like(whole.tokens), torch.zeros_like(whole.completion_mask), 0
    for part in range(parts):
        policy.mates = OneOf(part, parts)
        own = policy.sample(requests, stream=STREAM)
        assert not (mask & own.completion_mask).any()  # nobody completes what another does
        tokens, mask, finished = tokens + own.tokens, mask | own.completion_mask, finished + own.finished.int()
    assert torch.equal(mask, whole.completion_mask)
    assert torch.equal(tokens[mask], whole.tokens[mask]) and torch.equal(finished, whole.finished.int())


@pytest.mark.parametrize("draw", [uniforms, seeds])
def test_numbers_go_by_the_place_of_a_request(ask, draw) -> None:
    requests = replace(ask(0, 1), place=torch.tensor([0, 1, 0, 1]))
    whole, second = draw(requests, ("a", "b"), STREAM), draw(requests.select(torch.tensor([1, 3])), ("a", "b"), STREAM)
    assert torch.equal(whole, draw(ask(0, 1), ("a", "b"), STREAM))
    assert torch.equal(second, whole.view(4, 3, *whole.shape[1:])[[1, 3]].flatten(0, 1))


@pytest.mark.parametrize("couples", list(Couples))
def test_every_row_is_trained_by_one_process_and_groups_stay_whole(lora, ask, rows_of, couples: Couples) -> None:
    policy, requests = lora("a"), ask(0)
    rows = rows_of(requests, policy.sample(requests, stream=STREAM), 1)
    seen = []
    for part in range(2):
        policy.mates = OneOf(part, 2)
        own = torch.cat([micro.index for micro in policy.split(rows, couples=couples)])
        assert rows.group[own].unique().tolist() == [part]
        seen += own.tolist()
    assert sorted(seen) == rows.index.tolist()
