"""``moalign demo``: a trained front in under a minute, from the small model inside the package."""

import os
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/]

  moalign demo

  moalign demo --members 6 --steps 60 --out runs
"""


def demo(
    out: Annotated[Path, typer.Option(help="Directory of run directories.")] = Path("runs"),
    members: Annotated[int, typer.Option(min=1, help="Policies trained together.")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 32,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train a small front on a CPU and show it: accuracy, brevity and clarity of a model that adds numbers."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a second thread gains little here, and loses much on a busy machine
    from moalign.cli._quiet import quiet
    from moalign.cli._results import show_results
    from moalign.cli._together import continuable
    from moalign.demo import demo_study

    quiet()
    study = demo_study(members=members, steps=steps, seed=seed)
    with continuable():
        study.run(out / study.name)
    show_results(out, [study.name])


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(demo)
