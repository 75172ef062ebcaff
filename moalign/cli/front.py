"""``moalign front``: the Pareto front of a run."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/]

  moalign front runs/arithmetic

  moalign front runs/arithmetic --json | jq '.points[].values'
"""


def front(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    json: Annotated[bool, typer.Option("--json", help="Print front.json instead of a table.")] = False,
) -> None:
    """Print the front of a run: each objective ± standard error, preference, step."""
    from rich.console import Console

    from moalign.fronts import print_front
    from moalign.study import load

    found = load(run).front
    if json:
        typer.echo((run / "front.json").read_text(encoding="utf-8"))
    else:
        print_front(found, Console())


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(front)
