"""``moalign check``: every error of a study at once, and what its run will take."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/]

  moalign check studies/arithmetic.py

  moalign check studies/arithmetic.py --set members=16
"""


def check(
    study: Annotated[Path, typer.Argument(help="Python file that defines a Study.", metavar="STUDY.py")],
    set: Annotated[list[str], typer.Option("--set", metavar="PATH=VALUE", help="Change an option by path.")] = [],  # noqa: B006
) -> None:
    """Check a study file: report every error at once, and the memory and disk a run will take."""
    from moalign.cli._studies import studies_in, with_settings

    for found in studies_in(study).values():
        plan = with_settings(found, set).check()
        typer.echo(f"{found.name}: {plan}")


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(check)
