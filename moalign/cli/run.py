"""``moalign run``: train the studies of a file, print their fronts, write the report."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/]

  moalign run studies/arithmetic.py

  moalign run studies/arithmetic.py --set recipe.steps=20 --out elsewhere

  moalign run studies/arithmetic.py --resume must   # only continue

  moalign run studies/arithmetic.py --report-to tensorboard
"""


def run(
    study: Annotated[Path, typer.Argument(help="Python file that defines one or more Studies.", metavar="STUDY.py")],
    set: Annotated[list[str], typer.Option("--set", metavar="PATH=VALUE", help="Change an option by path.")] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Directory of run directories.")] = Path("runs"),
    resume: Annotated[
        str, typer.Option(help="auto: start or continue; must: only continue; never: only start.")
    ] = "auto",
    only: Annotated[str | None, typer.Option(help="Run only the study of this name.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Studies run side by side; default: one per core.")] = None,
    report_to: Annotated[list[str], typer.Option(help="tensorboard, wandb or trackio; may be repeated.")] = [],  # noqa: B006
    events: Annotated[bool, typer.Option("--events", hidden=True)] = False,
) -> None:
    """Train every Study of a file to a front of models; the first is the main one, the others its baselines.

    Prints each front and writes report.html into the main study's run directory. Run again to continue after a stop.
    """
    from moalign.cli._quiet import quiet
    from moalign.cli._studies import check_all, select_studies
    from moalign.cli._together import continuable, run_here, run_together

    if resume not in ("auto", "must", "never"):
        raise typer.BadParameter(f"must be auto, must or never, got {resume!r}.", param_hint="--resume")
    quiet()
    studies = select_studies(study, only=only, settings=set)
    with continuable():
        if len(studies) == 1:
            run_here(studies[0], out, resume=resume, report_to=report_to, events=events)
        else:
            check_all(studies, out)
            run_together(study, studies, out, settings=set, resume=resume, report_to=report_to, jobs=jobs)
    if events:
        return
    from moalign.cli._results import show_results

    show_results(out, [found.name for found in studies])


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(run)
