"""C-MORL's Pareto extension: clone members beside the widest gaps of the front and let them climb, constrained."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.dominance import crowding_distance, non_dominated
from moalign.parts import register
from moalign.records import Points, Policy, State
from moalign.training.gather import gather_state


@register(
    "breeder",
    "gap-fill",
    paper="liu2024cmorl",
    test="tests/training/test_gap_fill.py::test_clones_the_member_beside_the_gap",
)
@dataclass(frozen=True)
class GapFill:
    r"""Once, at progress `at`, clone the `parents` non-dominated members of largest crowding distance, `clones` each.

    A clone maximises one objective with the others held at :math:`\beta` ``retain`` of what its parent has there:
    threshold :math:`z + \beta (r - z)`, :math:`z` the nadir; without a declared nadir :math:`r - (1 - \beta) |r|`,
    which is the paper's :math:`\beta r` for positive values and lies below a negative one as well. A parent's clones
    take the objectives in order of the gap above the parent; as many clones as objectives is the paper's extension.
    Ends of the front come first, as in the authors' code. Needs the controller "lagrangian". Clones copy everything
    from their parent and are called ``<parent>.<n>``. Liu et al. 2024, arXiv:2410.02236.
    """

    at: float = 0.5
    parents: int = 1
    clones: int = 1
    retain: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.at < 1 or not 0 <= self.retain <= 1:
            raise ConfigError(f"`at` and `retain` must lie in [0, 1), [0, 1], got {self.at} and {self.retain}.")
        if self.parents < 1 or self.clones < 1:
            raise ConfigError(f"`parents` and `clones` must be at least 1, got {self.parents} and {self.clones}.")

    def __call__(self, policy: Policy, state: State, points: Points) -> tuple[Policy, State]:
        members, objectives = points.values.shape
        if not {"preference", "threshold", "multiplier", "nadir"} <= state["weighting"].keys():
            raise ConfigError("`breed='gap-fill'` makes constrained clones and needs `weighting='lagrangian'`.")
        if self.clones > objectives:
            raise ConfigError(
                f"`clones` is {self.clones} with {objectives} objectives; a clone climbs one of them each."
            )
        usable = torch.isfinite(points.values).all(dim=1).cpu()
        usable &= state["update"].get("active", usable).cpu()
        if "born" in state["breed"] or points.progress < self.at or not bool(usable.any()):
            return policy, state

        chosen = [
            (parent, number, objective)
            for parent, gaps in self._beside_gaps(points.values.cpu(), usable)
            for number, objective in enumerate(gaps.argsort(descending=True, stable=True)[: self.clones].tolist(), 1)
        ]
        parents = [*range(members), *(parent for parent, _, _ in chosen)]
        policy.gather(parents, [*points.names, *(f"{points.names[parent]}.{number}" for parent, number, _ in chosen)])
        state = gather_state(state, parents)
        weighting = dict(state["weighting"])
        for row, (parent, _, objective) in enumerate(chosen, members):
            _constrain(weighting, row, objective, points.values[parent], self.retain)
        born = torch.full((len(parents),), -1)
        born[members:] = points.step
        return policy, {**state, "weighting": weighting, "breed": {**state["breed"], "born": born}}

    def _beside_gaps(
        self, values: Float[Tensor, "member objective"], usable: Tensor
    ) -> list[tuple[int, Float[Tensor, "objective"]]]:
        """Return the chosen parents, each with the gap above it in every objective, in shares of the front's range."""
        index = torch.nonzero(usable).squeeze(1)
        index = index[non_dominated(values[index], keep_duplicates=False)]
        front = values[index]
        ahead = front[None, :, :] - front[:, None, :]  # point, other point, objective
        gaps = torch.where(ahead > 0, ahead, torch.inf).amin(dim=1)
        gaps = gaps.masked_fill(gaps.isinf(), 0.0) / (front.amax(dim=0) - front.amin(dim=0)).clamp(min=1e-12)
        room = list(zip(crowding_distance(front).tolist(), gaps.sum(dim=1).tolist()))  # ends tie: the wider gap decides
        best = sorted(range(len(front)), key=room.__getitem__, reverse=True)[: self.parents]
        return [(int(index[i]), gaps[i]) for i in best]


def _constrain(weighting: State, row: int, objective: int, value: Float[Tensor, "objective"], retain: float) -> None:
    """Let member `row` maximise `objective` with the others held at `retain` of `value`; a stricter threshold stays."""
    nadir = weighting["nadir"][row]
    kept = torch.where(nadir.isnan(), value - (1 - retain) * value.abs(), nadir + retain * (value - nadir))
    kept[objective] = torch.nan
    weighting["threshold"][row] = torch.fmax(weighting["threshold"][row], kept)
    weighting["preference"][row] = torch.eye(len(value))[objective].to(value)
    weighting["multiplier"][row] = 0.0
