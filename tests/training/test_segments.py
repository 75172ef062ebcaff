"""Credit by segment through the one loop: a policy learns where an objective's advantage goes, and only there."""

from collections.abc import Callable
from typing import Any

import torch

from moalign import recipes
from moalign.training.recipe import Recipe

Go = Callable[..., Any]
WORTH = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.4, 0.4]]  # word objective
SMALL: dict[str, Any] = {"prompts_per_step": 2, "num_generations": 8, "max_completion_length": 2, "beta": 0.0}


def routed(**changes: Any) -> Recipe:
    # the world ends each word with "|": the first token is `before`, the second `after`
    return recipes.f_grpo(**SMALL, delimiters=("|",), route={"a": "before", "b": "after"}, **changes)


def test_each_position_learns_its_own_objective(world: Go, go: Go) -> None:
    odds = go(routed(steps=30, learning_rate=0.2), world(WORTH), [[0.5, 0.5]]).odds()
    assert (odds[0, :, 0, 1] > 0.8).all() and (odds[0, :, 1, 2] > 0.8).all()  # words 1 and 2 are worth most in a and b


def test_what_has_no_weight_moves_no_token_of_its_segment(world: Go, go: Go) -> None:
    odds = go(routed(steps=3, learning_rate=0.1), world(WORTH), [[1.0, 0.0], [0.0, 1.0]]).odds()
    even = torch.full_like(odds[0, :, 0], 0.25)
    assert torch.equal(odds[0, :, 1], even) and torch.equal(odds[1, :, 0], even)  # exactly
    assert not torch.equal(odds[0, :, 0], even) and not torch.equal(odds[1, :, 1], even)


def test_one_backward_pass(world: Go, go: Go, monkeypatch: Any) -> None:
    passes: list[int] = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: (passes.append(1), grad(*a, **k))[1])
    go(routed(steps=1), world(WORTH), [[0.5, 0.5]])
    routed_passes, passes[:] = len(passes), []
    go(recipes.gdpo(steps=1, **SMALL), world(WORTH), [[0.5, 0.5]])
    assert routed_passes == len(passes) > 0
