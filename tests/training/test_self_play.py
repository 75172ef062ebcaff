"""INPO through the one loop: each iterate goes where the paper's closed form says."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close

from moalign import recipes
from moalign.optimizers.steps import SGD
from moalign.parts import Linear
from moalign.training.descent import Descent

Go = Callable[..., Any]
WORTH = [[0.0, 1.0], [0.1, 0.7], [0.8, 0.2], [1.0, 0.0]]  # word objective
WISHES = [[1.0, 0.0], [0.7, 0.3]]  # they order the words 0 1 2 3 and 1 0 2 3
ETA, SHARE, EVERY = 0.5, 0.5, 12


def next_iterate(present: Tensor, start: Tensor, worth: Tensor) -> Tensor:
    """Eq. 5: π_{t+1}(y) ∝ exp(P(y ≻ π_t) / η) · ref(y)^(τ/η) · π_t(y)^(1 - τ/η)."""
    beats = (worth[:, None] > worth).float() + 0.5 * (worth[:, None] == worth)
    return ((beats @ present) / ETA + SHARE * start.log() + (1 - SHARE) * present.log()).softmax(0)


def test_iterates_follow_the_closed_form(world: Go, go: Go) -> None:
    recipe = recipes.inpo(
        prompts_per_step=64, num_generations=2, max_completion_length=1, steps=2 * EVERY, iterate_every=EVERY,
        beta=ETA, share=SHARE, learning_rate=Linear(1.5, 0.3), update=Descent(rule=SGD(), max_grad_norm=0.0),
    )  # fmt: skip
    start = torch.tensor([0.4, 0.1, 0.2, 0.3])
    run = go(recipe, world(WORTH), WISHES, start=start.log().expand(2, 2, 4))
    for k, wish in enumerate(WISHES):
        worth = torch.tensor(WORTH) @ torch.tensor(wish)
        first = next_iterate(start, start, worth)
        kept = run.state["collect"]["iterate"]["logits"]  # what the second half sampled from
        found = [x[k, :, 0].mean(0) for x in (kept.softmax(-1), run.odds())]  # over the two prompts
        assert_close(found[0], first, atol=0.03, rtol=0)
        assert_close(found[1], next_iterate(first, start, worth), atol=0.03, rtol=0)
