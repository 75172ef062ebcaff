"""``moalign export``: a point of a front as a model that other programs load."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/]

  moalign export runs/arithmetic m03 --to out/m03          # for PEFT

  moalign export runs/arithmetic m03 --to out/m03 --merge  # a whole model
"""


def export(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    point: Annotated[str, typer.Argument(help="Point of the front, e.g. m03.")],
    to: Annotated[Path, typer.Option(help="Directory to write.")],
    merge: Annotated[bool, typer.Option("--merge", help="Merge the adapter into a copy of the base model.")] = False,
) -> None:
    """Write a point as a PEFT adapter, or merged into a full model, tokenizer included."""
    from moalign.cli._quiet import quiet
    from moalign.study import load

    quiet()
    found = load(run).front.point(point)
    written = found.export(to, merge=merge)
    typer.echo(f"wrote {written}")
    if found.prefix:
        typer.echo(f"put {found.prefix!r} before every prompt")


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(export)
