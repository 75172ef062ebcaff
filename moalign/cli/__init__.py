"""The command line: one command per file; torch and friends are imported only when a command runs."""

import logging
import sys

import typer

from moalign.cli import audit, check, demo, doctor, export, front, methods, rescore, run, show

app = typer.Typer(
    name="moalign",
    help="Define the rewards you care about; get the whole front of models.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for command in (demo, check, run, front, show, export, audit, rescore, methods, doctor):
    command.register(app)


def main() -> None:
    """Run the command line; a `MoalignError` is a message and exit status 2, not a traceback."""
    from moalign.errors import MoalignError

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except MoalignError as error:
        several = "\n" in str(error)
        print(f"moalign: {type(error).__name__}\n{error}" if several else f"moalign: {error}", file=sys.stderr)
        raise SystemExit(2) from None


__all__ = ["app", "main"]
