"""C-MORL's Pareto extension: clone members beside the widest gaps of the front and let them climb, constrained."""

from dataclasses import dataclass
from typing import Any

import torch

from moalign.errors import ConfigError
from moalign.optimizers.selection import beside_gaps
from moalign.parts import register
from moalign.records import Points, Policy, State
from moalign.training.gather import clone
from moalign.weighting.lagrangian import constrain, needs_multipliers


@register(
    "breeder",
    "gap-fill",
    paper="liu2024cmorl",
    test="tests/training/test_gap_fill.py::test_clones_the_member_beside_the_gap",
)
@dataclass(frozen=True)
class GapFill:
    r"""Once, at progress `at`, clone the `parents` non-dominated members of largest crowding distance, `clones` each.

    A clone maximises one objective with the others held at ``retain`` of what its parent has there (see `constrain`);
    a parent's clones take the objectives in order of the gap above the parent. As many clones as objectives is the
    paper's extension. Ends of the front come first, as in the authors' code. Needs the controller "lagrangian". Clones
    copy everything from their parent and are called ``<parent>.<n>``. Liu et al. 2024, arXiv:2410.02236.
    """

    at: float = 0.5
    parents: int = 1
    clones: int = 1
    retain: float = 0.9

    def __post_init__(self) -> None:
        if not (0 <= self.at < 1 and 0 <= self.retain <= 1 and self.parents >= 1 and self.clones >= 1):
            raise ConfigError(f"{self}: `at` and `retain` are shares, `parents` and `clones` numbers of at least 1.")

    def problems(self, recipe: Any) -> list[str]:
        return needs_multipliers(recipe)

    def __call__(self, policy: Policy, state: State, points: Points) -> tuple[Policy, State]:
        if self.clones > points.values.shape[1]:
            raise ConfigError(f"`clones` is {self.clones} with {points.values.shape[1]} objectives; one climbs each.")
        if "born" in state["breed"] or points.progress < self.at:
            return policy, state
        active = state["update"].get("active", torch.ones(len(points.values)) > 0)
        chosen, gaps = beside_gaps(points.values.where(active[:, None].cpu(), torch.nan), count=self.parents)
        first = gaps.argsort(dim=1, descending=True, stable=True)[:, : self.clones]
        parents = chosen.repeat_interleave(first.shape[1]).tolist()
        policy, state, born = clone(policy, state, parents, step=points.step)
        weighting = state["weighting"]
        for member, parent, objective in zip(born, parents, first.flatten().tolist()):
            weighting = constrain(weighting, member, objective, value=points.values[parent], retain=self.retain)
        return policy, {**state, "weighting": weighting}
