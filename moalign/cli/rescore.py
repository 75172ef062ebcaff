"""``moalign rescore``: what a run's credit would have been under other weights, credit or rewards."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/]

  moalign rescore runs/arithmetic --set weights.brevity=0.1

  moalign rescore runs/arithmetic --set recipe=gdpo   # its credit

  moalign rescore runs/arithmetic --set recipe.credit.normalize=group

  moalign rescore runs/arithmetic --rewards stricter.py --json
"""


def rescore(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    set: Annotated[
        list[str],
        typer.Option("--set", metavar="PATH=VALUE", help="weights.NAME, recipe, recipe.credit..., objectives..."),
    ] = [],  # noqa: B006
    rewards: Annotated[
        Path | None, typer.Option(metavar="FILE.py", help="Python with `objectives` to score anew, or a study file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replay a run's stored completions under other weights, credit or rewards: no model is loaded, nothing is written.

    Shows what each objective's pressure would have been, which completions change sign, and the members' front.

    A weight that is set holds for every member; the others are what the run's controller gave. Objectives of FILE.py
    replace those of the same name, or are added; where they ask for columns of the data, it defines `train_dataset`.
    """
    from moalign.cli._quiet import quiet
    from moalign.cli._rewards import rewards_in
    from moalign.cli._settings import settings_in
    from moalign.diagnostics.rescore import rescore as rescored

    quiet()
    objectives, data = ((), None) if rewards is None else rewards_in(rewards)
    found = rescored(run, settings_in(set), rewards=objectives, data=data)
    if json:
        import json as j

        typer.echo(j.dumps(found.as_json(), indent=1, allow_nan=False))
        return
    from rich.console import Console

    from moalign.diagnostics._compare import print_rescored

    print_rescored(found, Console())


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(rescore)
