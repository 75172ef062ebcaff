"""From a preference to how much of each reward to ask for: 0 is the lowest that was seen, 1 the highest."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.simplex import sample_dirichlet
from moalign.parts import register

PINNED = "tests/rollouts/test_reward_targets.py::test_worked_values"


@register("target", "linear", paper="yang2024ric", test=PINNED)
def linear_target(preferences: Float[Tensor, "*batch objective"]) -> Float[Tensor, "*batch objective"]:
    """Return :math:`p`, the preference itself. Yang et al. 2024, arXiv:2402.10207."""
    return preferences


@register("target", "l2", paper="yang2024ric", test=PINNED)
def l2_target(preferences: Float[Tensor, "*batch objective"]) -> Float[Tensor, "*batch objective"]:
    r"""Return :math:`p / \lVert p \rVert_2`, what the paper's code evaluates with. Yang et al. 2024, arXiv:2402.10207.

    >>> l2_target(torch.tensor([0.3, 0.7]))
    tensor([0.3939, 0.9191])
    """
    return preferences / preferences.norm(dim=-1, keepdim=True)


@register("target", "linf", paper="yang2024ric", test=PINNED)
def linf_target(preferences: Float[Tensor, "*batch objective"]) -> Float[Tensor, "*batch objective"]:
    r"""Return :math:`\min(n p, 1)`, and 1 where :math:`p` is largest; :math:`n` objectives. Yang et al. 2024.

    >>> linf_target(torch.tensor([0.3, 0.7]))
    tensor([0.6000, 1.0000])
    """
    return (preferences.shape[-1] * preferences).clamp(max=1.0)  # the largest is at least 1 / n: its target is 1


def goals(
    count: int, objectives: int, target: Callable[[Tensor], Tensor] | None, generator: torch.Generator
) -> Float[Tensor, "goal objective"]:
    """Return shares of the way from the lowest reward to the highest.

    Without a `target`: uniform draws, all but the smallest raised to 1 (`sample_goals` of the paper's code).
    """
    if target is not None:
        return target(sample_dirichlet(objectives, count, generator=generator))
    drawn = torch.rand(count, objectives, generator=generator)
    return drawn.where(drawn == drawn.amin(dim=1, keepdim=True), 1.0)
