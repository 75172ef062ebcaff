"""What is shown when studies have finished: their fronts, and where the report is."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


def show_results(out: Path, names: Sequence[str]) -> None:
    """Print the fronts of finished runs and write the first one's report against the others."""
    from rich.console import Console

    from moalign.explore import collect_report, write_report
    from moalign.fronts import print_front
    from moalign.study import load

    console = Console()
    for name in names:
        print_front(load(out / name).front, console, title=name)
    report = out / names[0] / "report.html"
    baselines = {name: out / name for name in names[1:]}
    command = shlex.join(["moalign", *sys.argv[1:]])
    write_report(report, collect_report(out / names[0], baselines, name=names[0], command=command))
    console.print(f"report: {report}", soft_wrap=True, highlight=False)
    console.print(f"export a model: moalign export {out / names[0]} POINT --to DIRECTORY --merge", soft_wrap=True)
