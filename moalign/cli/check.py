"""``moalign check``: every error of a study at once, and what its run will take here."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/]

  moalign check studies/arithmetic.py

  moalign check studies/arithmetic.py --set members=16

  moalign check studies/arithmetic.py --mean-length 14   # tokens
"""


def check(
    study: Annotated[Path, typer.Argument(help="Python file that defines a Study.", metavar="STUDY.py")],
    set: Annotated[list[str], typer.Option("--set", metavar="PATH=VALUE", help="Change an option by path.")] = [],  # noqa: B006
    mean_length: Annotated[
        float | None,
        typer.Option(help="Tokens of an average completion, as a run logs them; default: half of the most."),
    ] = None,
) -> None:
    """Check a study file: report every error at once, and what a run will take: memory, disk, time, members that fit.

    Time is measured here, in a second or two, with layers of the model's shapes; rewards are not called.
    """
    from moalign.cli._studies import studies_in, with_settings

    for found in studies_in(study).values():
        plan = with_settings(found, set).check(mean_length=mean_length)
        typer.echo(f"{found.name}: {plan}")


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(check)
