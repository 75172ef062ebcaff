"""A filter after sampling: right answers with the best reasoning, wrong ones with the worst, and as many of each."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import check_names, look_up_names, part, register
from moalign.records import Environment, Policy, Rows, State
from moalign.rollouts.collect import Sample


@register(
    "collector",
    "prof",
    paper="ye2025prof",
    test="tests/rollouts/test_prof.py::test_keeps_what_process_and_outcome_agree_on",
)
@dataclass(frozen=True)
class PROF:
    """Sample large groups with `inner` and keep `retain` completions of each, on which process and outcome agree.

    Of the right ones (objective `outcome` at least `solved`) those with the largest process score are kept, of the
    wrong ones those with the smallest; half of `retain` each, the odd one right, or more of one kind where there are
    too few of the other. The score is the column `process`, the mean over steps, which a reward logs
    (`rewards.Logged`); it decides what is trained on and is no reward itself. A completion without it is dropped
    first. Ye et al. 2025, arXiv:2509.03403.
    """

    inner: Any = part("collector", Sample())
    outcome: str = "correct"
    process: str = "process"
    retain: int = 4
    solved: float = 1.0

    def __post_init__(self) -> None:
        look_up_names(self)
        if self.retain < 1:
            raise ConfigError(f"`retain` must be at least 1, got {self.retain}.")

    @property
    def objectives(self) -> tuple[str, ...]:
        return (self.outcome,)

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        rows, state = self.inner(policy, env, state, now)
        if rows.rewards is None:
            raise ConfigError("`PROF` needs rewards, and the rows of its `inner` collector have none.")
        check_names([self.outcome], rows.rewards.names, "PROF")
        if self.process not in rows.columns:
            raise ConfigError(
                f"no reward logs the column `{self.process}`; wrap the process reward in "
                f"`rewards.Logged(reward, {self.process!r})`, in an objective with `optimize=False`."
            )
        given = [torch.nan if score is None else float(score) for score in rows.columns[self.process]]
        score, kept = rows.grid(torch.tensor(given, device=rows.tokens.device))
        outcome, _ = rows.grid(rows.rewards.values[:, rows.rewards.names.index(self.outcome)])
        there, _ = rows.grid(rows.rewards.valid[:, rows.rewards.names.index(self.outcome)].float())
        kept = kept & (there > 0)
        right, wrong = kept & (outcome >= self.solved), kept & (outcome < self.solved)
        first = _first(score, right, self._shares(right, wrong)) | _first(-score, wrong, self._shares(wrong, right, -1))
        return replace(rows, keep=rows.keep & (rows.flat(first.float()) > 0)), state

    def _shares(
        self, these: Bool[Tensor, "*group n"], others: Bool[Tensor, "*group n"], odd: int = 1
    ) -> Int[Tensor, "*group 1"]:
        """How many of these to keep: half, and what the others leave."""
        half = (self.retain + (odd > 0)) // 2
        return (self.retain - others.sum(dim=-1, keepdim=True)).clamp(min=half)


def _first(
    score: Float[Tensor, "*group n"], among: Bool[Tensor, "*group n"], count: Int[Tensor, "*group 1"]
) -> Bool[Tensor, "*group n"]:
    """Tell which are among the `count` with the largest scores, the earlier of equal ones first, NaN last."""
    ranked = score.nan_to_num(nan=-torch.finfo(score.dtype).max).masked_fill(~among, -torch.inf)
    rank = ranked.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return among & (rank < count)
