"""Read a run directory back: its front, metrics and rollouts. Nothing is executed and no model is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moalign.errors import RunError
from moalign.fronts import Front
from moalign.runs import RunDirectory

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Run:
    """A run on disk, finished or not."""

    path: Path

    @property
    def _directory(self) -> RunDirectory:
        return RunDirectory(self.path)

    @property
    def spec(self) -> dict[str, Any]:
        """The record of the study that made it."""
        return self._directory.spec

    @property
    def status(self) -> str:
        """ "finished", or how far it has come."""
        state = self._directory.status["state"]
        return state if state == "finished" else f"step {len(self._directory.read_metrics())}"

    @property
    def front(self) -> Front:
        """The front; `RunError` while the run is not finished."""
        file = self.path / "front.json"
        if not file.exists():
            raise RunError(f"`{self.path}` has no front yet ({self.status}); run the study again to finish it.")
        return Front.from_json(file)

    def metrics(self) -> "pd.DataFrame":
        """Return one line per step and member, rewards in their own signs."""
        import pandas as pd

        lines = []
        for record in self._directory.read_metrics():
            members = record["members"]
            per_run = {name: value for name, value in record.items() if not isinstance(value, list)}
            for k, member in enumerate(members):
                own = {n: v[k] for n, v in record.items() if isinstance(v, list) and n != "members" and len(v) > k}
                lines.append({"member": member, **per_run, **own})
        return pd.DataFrame(lines)

    def rollouts(self, step: int) -> "pd.DataFrame":
        """Return the completions kept from a step, with every reward."""
        return self._directory.read_rollouts(step)


def load(path: str | Path) -> Run:
    """Return the run in a directory."""
    path = Path(path)
    if not (path / "spec.json").exists():
        raise RunError(f"`{path}` is not a run directory: it has no spec.json.")
    return Run(path)
