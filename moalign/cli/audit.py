"""``moalign audit``: what logged completions say about a mixture of rewards."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/]

  moalign audit outputs/grpo                     # TRL's output_dir

  moalign audit outputs/grpo --weight format=0.1

  moalign audit dumps --reward acc --reward format   # verl's

  moalign audit runs/arithmetic --json | jq '.rewards[].fix'
"""


def audit(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A directory with logs: see above.")],
    weight: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE", help="A reward's weight, where the trainer does not log it.")
    ] = [],  # noqa: B006
    reward: Annotated[
        list[str], typer.Option(metavar="NAME", help="A column that is a reward; default: every numeric one.")
    ] = [],  # noqa: B006
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Audit a mixture of rewards from logged completions: what pulls, is silent or opposes, and the nearest fix.

    Reads TRL's output_dir (log_completions=True), verl's rollout_data_dir, or a run of moalign. Needs no model.

    Pressure is how hard credit pulls a reward up, in its own spread: compare it with the weight. Weights are 1 unless
    they are given or a run of moalign has logged them.
    """
    from moalign.cli._settings import weights_in
    from moalign.diagnostics import audit as audited
    from moalign.diagnostics import read_table

    found = audited(read_table(directory, reward).weighted(weights_in(weight)))
    if json:
        import json as j

        typer.echo(j.dumps(found.as_json(), indent=1, allow_nan=False))
        return
    from rich.console import Console

    from moalign.diagnostics import print_audit

    print_audit(found, Console())


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(audit)
