"""A session of several processes: what all members showed is written down by the first."""

from dataclasses import dataclass
from typing import Any

from moalign.mates import host
from moalign.records import Metrics, Policy, State
from moalign.training.ranks import ALONE, Agreed, Ranks
from moalign.training.session import Session
from moalign.training.shares import joined, share_of, stacked, stacked_metrics
from moalign.training.shown import Shown
from moalign.training.stopping import Stopping


@dataclass
class RankedSession(Session):
    """A process's part in a session; `stopping` must be `Agreed`."""

    ranks: Ranks = ALONE

    def write(self, seen: Shown, step: int, steering: Metrics) -> None:
        """Let the first process write down what the members of all showed."""
        parts = self.ranks.to_first(host(vars(seen)))
        if parts is not None:
            super().write(everybodys(parts), step, steering)

    def completed(self, step: int, policy: Policy, state: State) -> None:
        """Save and stop as one: whoever was asked to stop, all do so after the same step."""
        assert isinstance(self.stopping, Agreed)
        self.stopping.agree()
        super().completed(step, policy, state)

    def going(self, state: State) -> bool:
        """Return whether any process has a member that still trains."""
        return any(self.ranks.all(super().going(state)))

    def save(self, step: int, policy: Policy, state: State) -> None:
        """Let the first process write a checkpoint of all members, as a single process would."""
        shares = self.ranks.to_first(share_of(policy, state))
        if shares is not None:
            self.store(step, joined(shares, state))
        self.saved = step


def everybodys(parts: list[dict[str, Any]]) -> Shown:
    """Return as one what processes showed of their members; a learning rate for all is everybody's."""
    members, rows = [len(part["members"]) for part in parts], [len(part["lengths"]) for part in parts]
    metrics = stacked_metrics([part.pop("metrics") for part in parts], members, rows)
    rates = [part.pop("learning_rate") for part in parts]
    rate = stacked(rates) if rates[0].ndim else rates[0]
    return Shown(**stacked(parts), metrics=metrics, learning_rate=rate)


def session_of(ranks: Ranks, stopping: Stopping, **options: Any) -> Session:
    """Return the session of one process or of several."""
    if ranks.size == 1:
        return Session(stopping=stopping, **options)
    return RankedSession(stopping=Agreed(ranks, stopping), ranks=ranks, **options)
