"""Diagnostics: what the rewards of logged completions say about a mixture of rewards; no model, no torch.

`read_table` reads logs of moalign, TRL or verl; `audit` asks of each reward how hard credit pulls on it for its weight,
where it is missing, silent or used up, whom it repeats and whom it opposes; `moalign.diagnostics.rescore` replays a
run's rollouts under other weights, credit or rewards.

>>> from pathlib import Path
>>> read_table(Path(__file__).parent)  # doctest: +ELLIPSIS
Traceback (most recent call last):
moalign.errors.RunError: ... Looked for rollouts/step-*.parquet of a moalign run ...
"""

from moalign.diagnostics._alarms import Alarm, alarms
from moalign.diagnostics._audit import Audit, Audited, Pair, audit
from moalign.diagnostics._pressure import normalize_then_sum, pressure, pressure_table, shares, sum_then_normalize
from moalign.diagnostics._print import print_audit
from moalign.diagnostics._read import read_table
from moalign.diagnostics._relations import opposed, rank_correlation, saturation
from moalign.diagnostics._table import RewardTable

__all__ = [
    "Alarm",
    "Audit",
    "Audited",
    "Pair",
    "RewardTable",
    "alarms",
    "audit",
    "normalize_then_sum",
    "opposed",
    "pressure",
    "pressure_table",
    "print_audit",
    "rank_correlation",
    "read_table",
    "saturation",
    "shares",
    "sum_then_normalize",
]
