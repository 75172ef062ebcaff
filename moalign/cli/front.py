"""``moalign front``: the Pareto front of a run."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/]

  moalign front runs/arithmetic

  moalign front runs/arithmetic --json | jq '.points[].values'

  moalign front runs/new --svg new.svg --against runs/old
"""


def front(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    json: Annotated[bool, typer.Option("--json", help="Print front.json instead of a table.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Also write a picture of the front.")] = None,
    against: Annotated[list[Path], typer.Option(help="Another run in the picture; may be repeated.")] = [],  # noqa: B006
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
    if svg is not None:
        from moalign.explore import front_svg
        from moalign.runs import write_bytes

        others = {path.resolve().name: load(path).front for path in against}
        write_bytes(svg, front_svg(found, others, name=run.resolve().name).encode())


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(front)
