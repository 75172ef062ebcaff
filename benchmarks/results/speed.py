"""The page's last tables: what the other benchmarks recorded, or that nothing was measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moalign.runs import read_json

COMMANDS = {
    "step": "a step against TRL's",
    "front": "a front against TRL, run after run",
    "overhead": "what the vector costs",
    "known_fronts": "shares of fronts that are known in closed form",
    "gram": "mixing gradients against TorchJD's",
    "gpu-0.5b": "on a GPU, 0.5 B parameters",
    "gpu-7b": "on a GPU, 7 B parameters",
    "plan": "what `Study.check` predicts beside what a run took",
    "parity": "learning beside TRL's, and eight members beside eight runs",
    "audit": "an audit of 100,000 logged completions",
    "kill": "killed at random moments and resumed",
    "soak": "thousands of steps",
    "fuzz": "random studies and command lines",
}


def speed(records: Path) -> str:
    """Return a section of tables from the JSON under `records`, one file a benchmark."""
    lines = [
        "## Speed and survival",
        "One command each, `python -m benchmarks.<name>`; `--record` keeps its figures for this page. A ratio is ours "
        "over the rival's; nothing is timed unless both compute the same.",
    ]
    for name, what in COMMANDS.items():
        file = records / f"{name}.json"
        lines.append(f"**{name}**, {what}: " + (_said(read_json(file)) if file.exists() else "not measured."))
    return "\n\n".join(lines)


def _said(record: dict[str, Any]) -> str:
    head = ("", "ours", "rival", "ratio", "unit", "repeats")
    rows = [
        [c["name"], _figure(c["ours"]), _figure(c["rival"]), _figure(c["ratio"]), c["unit"], str(c["repeats"])]
        for c in record["claims"]
    ]
    return f"{record['machine']}; commit {record['commit']}.\n\n{table(head, rows)}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under a head, as Markdown.

    >>> print(table(["arm", "tokens"], [["linear", "3k"]]))
    | arm | tokens |
    | --- | --- |
    | linear | 3k |
    """
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])
