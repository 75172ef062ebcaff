"""What a reward reads besides the completion: a column of the data, and a package that may not be there."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from moalign.errors import ConfigError, RewardError
from moalign.rewards.calling import GIVEN


def column_of(columns: Mapping[str, Any], name: str) -> Sequence[Any]:
    """Return a column of the data by name.

    >>> column_of({"answer": ["4"]}, "answer")
    ['4']
    """
    if name not in columns:
        has = ", ".join(sorted({*columns} - {*GIVEN}))
        raise RewardError(f"the data has no column `{name}`, but {has or 'none at all'}; pass `column=`")
    return columns[name]


def need(module: str, package: str, who: str) -> None:
    """Raise `ConfigError` if an optional package is not installed."""
    if importlib.util.find_spec(module) is None:
        raise ConfigError(f"`{who}` needs {package}, which is not installed; `pip install 'moalign[text]'`.")
