"""The previous iterate: members as they were some steps ago, who answer and whom losses compare with."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from moalign.errors import ConfigError
from moalign.parts import look_up_names, part, register
from moalign.records import Environment, Need, Policy, Rows, Snapshot, State
from moalign.rollouts.collect import Sample
from moalign.rollouts.logprobs import logprobs_of


@register(
    "collector",
    "previous-iterate",
    paper="zhang2024inpo",
    test="tests/rollouts/test_previous_iterate.py::test_the_iterate_answers_and_its_logprobs_are_on_the_rows",
)
@dataclass(frozen=True)
class PreviousIterate:
    r"""Let the previous iterate :math:`\pi_t` collect by `inner`, and put its log-probabilities on the kept rows.

    :math:`\pi_t` are the members as they stood at the last step that `iterate_every` divides, so at first the run's
    start; with `iterate_every` 1 they are the present ones. Their tensors stand in the state under ``collect``, so
    that they are saved, and copied with their member. While `inner` runs, the policy holds them: whatever it samples,
    it samples from :math:`\pi_t`, and the rewards that a run logs are the iterate's. Zhang et al. 2024,
    arXiv:2407.00617, Algorithm 1.
    """

    inner: Any = part("collector", Sample())
    iterate_every: int = 1
    gives: ClassVar[frozenset[Need]] = frozenset({Need.PREVIOUS})

    def __post_init__(self) -> None:
        look_up_names(self)
        if self.iterate_every < 1:
            raise ConfigError(f"`iterate_every` must be at least 1 step, got {self.iterate_every}.")

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        present, kept = policy.snapshot(), state.get("collect", {})
        if "iterate" not in kept or env.step % self.iterate_every == 0:
            kept = {**kept, "iterate": dict(present.tensors)}
        policy.restore(Snapshot(policy.members, kept["iterate"]))
        try:
            rows, state = self.inner(policy, env, {**state, "collect": kept}, now)
            return replace(rows, previous_logprobs=logprobs_of(policy, rows, couples=now.couples)), state
        finally:
            policy.restore(present)
