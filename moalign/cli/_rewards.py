"""Files of rewards: Python that defines `objectives`, and `train_dataset` where they ask for its columns."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from moalign.cli._studies import module_of
from moalign.errors import ConfigError

if TYPE_CHECKING:
    from moalign.objectives import Objective


def rewards_in(file: Path) -> "tuple[tuple[Objective, ...], Any]":
    """Return a file's objectives and its data, None without any; a study file gives its first study's."""
    from moalign.objectives import as_objectives
    from moalign.study import Study

    found = vars(module_of(file))
    studies = [value for value in found.values() if isinstance(value, Study)]
    if "objectives" in found:
        return as_objectives(found["objectives"]), found.get("train_dataset")
    if studies:
        return tuple(studies[0].objectives), studies[0].train_dataset
    raise ConfigError(f"`{file}` defines no `objectives`; write `objectives = [...]` at its top level, as for a Study.")
