"""An audit on a terminal."""

import math
from typing import TYPE_CHECKING

from moalign.diagnostics._audit import Audit, Pair
from moalign.diagnostics._pressure import FACTORS, SCHEMES

if TYPE_CHECKING:
    from rich.console import Console

OPPOSED = -0.3  # correlation below which two rewards are said to oppose each other
SAME = 0.9


def print_audit(found: Audit, console: "Console") -> None:
    """Print an audit: what each reward weighs and pulls, whether weights work, pairs, alarms, fixes."""
    from rich.table import Table

    alike = f", as `{found.scheme}` gives them" if found.scheme is not None else ""
    console.print(
        f"{found.source}: {found.completions:,} completions in {found.groups:,} groups of {found.steps} steps; "
        f"credit: {found.credit}{alike}",
        highlight=False,
    )
    heads = ("reward", "weight", "pressure", "valid", "silent groups", "at best", "at worst")
    table = Table(*heads, box=None, header_style="bold")
    for r in found.rewards:
        shares = (r.weight, r.pressure, r.valid, r.silent, r.at_best, r.at_worst)
        table.add_row(r.name, *(percent(value) for value in shares))
    console.print(table)

    console.print("\nDoes turning a weight down work? What is left of its pressure against the others'", style="bold")
    table = Table("reward", "credit", *(f"× {f:g}" for f in FACTORS[1:]), box=None, header_style="bold")
    for r in found.rewards:
        for i, scheme in enumerate(SCHEMES):
            left = [percent(r.left[scheme][f"{f:g}"]) for f in FACTORS[1:]]
            table.add_row("" if i else r.name, scheme, *left)
    if len(found.rewards) > 1:
        table.add_row("a weight that works", "", *(percent(f) for f in FACTORS[1:]), style="dim")
    console.print(table)

    lines = [line for pair in found.pairs if (line := said(pair))]
    lines += [f"alarm: {alarm.text}" for alarm in found.alarms]
    lines += [f"{r.name}: {r.fix}" for r in found.rewards if r.fix]
    console.print()
    for line in lines or ["nothing to mend"]:
        console.print(f"- {line}", highlight=False, markup=False)


def said(pair: Pair) -> str:
    """Return what there is to say about two rewards, or ""."""
    names = f"`{pair.first}` and `{pair.second}`"
    cosine = f"; cosine of their gradients {pair.cosine:+.2f}" if pair.cosine is not None else ""
    if pair.correlation >= SAME:
        return f"{names} rank completions alike ({pair.correlation:+.2f}){cosine}"
    if pair.correlation <= OPPOSED or (pair.cosine is not None and pair.cosine <= OPPOSED):
        return (
            f"{names} oppose each other: rank correlation {pair.correlation:+.2f}, opposite signs in "
            f"{percent(pair.opposed)} of completions{cosine}"
        )
    return ""


def percent(value: float) -> str:
    """Return a share for people; what cannot be said is a dash.

    >>> percent(0.5), percent(-0.031), percent(0.004), percent(float("nan"))
    ('50%', '-3%', '0.4%', '–')
    """
    if not math.isfinite(value):
        return "–"
    return f"{value:.1%}" if 0 < abs(value) < 0.01 else f"{value:.0%}"
