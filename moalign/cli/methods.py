"""``moalign methods``: every registered part, its paper, and the test that pins it."""

from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/]

  moalign methods

  moalign methods --kind controller

  moalign methods --json
"""


def methods(
    kind: Annotated[str | None, typer.Option(help="Only parts of this kind.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the methods: kind, name, paper, arXiv id and pinning test."""
    from moalign.errors import UnknownNameError, nearest
    from moalign.parts import bibliography
    from moalign.recipes import all_methods

    listed = all_methods()
    kinds = {method.kind for method in listed}
    if kind is not None and kind not in kinds:
        raise UnknownNameError(f"`--kind {kind}`: no such kind{nearest(kind, kinds)}")
    lines = []
    for method in listed:
        if kind is None or method.kind == kind:
            paper = bibliography()[method.paper] if method.paper else {}
            lines.append(
                {
                    "kind": method.kind,
                    "name": method.name,
                    "paper": paper.get("title"),
                    "arxiv": paper.get("arxiv"),
                    "test": method.test,
                }
            )
    if json:
        import json as j

        typer.echo(j.dumps(lines, indent=1))
        return
    import textwrap

    from rich.console import Console
    from rich.table import Table

    console = Console()
    room = max(24, console.width - 54)  # what kinds, names and arXiv ids leave
    table = Table("kind", "name", "paper", "arXiv", box=None, header_style="bold")
    for line in lines:
        paper = textwrap.shorten(line["paper"] or "", room, placeholder=" …")
        table.add_row(line["kind"], line["name"], paper, line["arxiv"] or "")
    console.print(table)


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(methods)
