"""``moalign show``: one point of a front, with what it answers."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/]

  moalign show runs/arithmetic m03

  moalign show runs/arithmetic m03 --samples 10
"""


def show(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    point: Annotated[str, typer.Argument(help="Point of the front, e.g. m03.")],
    samples: Annotated[int, typer.Option(min=0, help="How many sample completions to show.")] = 3,
) -> None:
    """Show a point: its values, how it was made, and sample completions with every reward."""
    from rich.console import Console

    from moalign.fronts import print_point
    from moalign.study import load

    print_point(load(run).front, point, Console(), samples=samples)


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(show)
