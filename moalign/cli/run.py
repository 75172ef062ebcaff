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
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Studies run side by side; default: one per GPU, or per core.")
    ] = None,
    report_to: Annotated[list[str], typer.Option(help="tensorboard, wandb or trackio; may be repeated.")] = [],  # noqa: B006
    events: Annotated[bool, typer.Option("--events", hidden=True)] = False,
) -> None:
    """Train every Study of a file to a front of models; the first is the main one, the others its baselines.

    Prints each front and writes report.html into the main study's run directory. Run again to continue after a stop.

    `torchrun --nproc-per-node 4 -m moalign run STUDY.py` divides the members among four GPUs.
    """
    from moalign.cli._asked import leave, when_asked

    with when_asked(leave):  # before anything heavy is imported
        from moalign.cli._quiet import quiet
        from moalign.cli._studies import check_all, select_studies
        from moalign.cli._together import continuable, run_here, run_together
        from moalign.training.ranks import together

        quiet()
        with continuable(), together() as ranks:
            if resume not in ("auto", "must", "never"):
                raise typer.BadParameter(f"must be auto, must or never, got {resume!r}.", param_hint="--resume")
            studies = select_studies(study, only=only, settings=set)
            if len(studies) > 1:
                ranks.first(lambda: check_all(studies, out))
            if len(studies) > 1 and ranks.size == 1:
                run_together(study, studies, out, settings=set, resume=resume, report_to=report_to, jobs=jobs)
            else:
                for found in studies:  # one after the other: every process has a part in each
                    run_here(found, out, resume=resume, report_to=report_to, events=events)
            if events or not ranks.leads:
                return
            from moalign.cli._results import show_results

            show_results(out, [found.name for found in studies])


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(run)
