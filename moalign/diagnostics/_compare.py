"""A replay beside its run on a terminal."""

import math
from typing import TYPE_CHECKING

from moalign.diagnostics._print import percent
from moalign.fronts import as_text

if TYPE_CHECKING:
    from rich.console import Console

    from moalign.diagnostics.rescore import Rescored

EXACT = 1e-4  # difference up to which a replay is said to give back what was stored
WIDTH = 60  # of a completion that is shown


def print_rescored(found: "Rescored", console: "Console") -> None:
    """Print what credit was and would have been, by objective; the completions that change sign; the members' front."""
    from rich.table import Table

    console.print(f"{found.run}: {found.completions:,} completions, {found.groups} at each kept step", highlight=False)
    console.print(trusted(found), highlight=False)
    table = Table("objective", "weight", "→", "pressure", "→", "mean", "→", box=None, header_style="bold")
    before, after = found.before, found.after
    for name in after.weights:
        cells = [percent(side.weights.get(name, math.nan)) for side in (before, after)]
        cells += [percent(side.pressure.get(name, math.nan)) for side in (before, after)]
        cells += [_number(side.means.get(name, math.nan)) for side in (before, after)]
        table.add_row(name, *cells)
    console.print(table)
    console.print(
        f"advantages: rank correlation {found.correlation:+.3f} within groups; {found.turned:,} of "
        f"{found.completions:,} completions change sign",
        highlight=False,
    )
    for turned in found.most:
        said = " ".join(as_text(turned.completion).split())
        said = said if len(said) <= WIDTH else f"{said[: WIDTH - 1]}…"
        line = f"  {turned.before:+.2f} → {turned.after:+.2f}  step {turned.step}, {turned.member}: {said}"
        console.print(line, highlight=False, markup=False)
    if before.means == after.means and before.hypervolume == after.hypervolume:
        console.print("front: as it was, for the rewards are the same", highlight=False)
    else:
        volumes = " → ".join(
            "no reference point" if v is None else f"{v:.4f}" for v in (before.hypervolume, after.hypervolume)
        )
        console.print(
            f"front of the members' means at the last kept step: hypervolume {volumes}; non-dominated "
            f"{', '.join(before.front) or 'none'} → {', '.join(after.front) or 'none'}",
            highlight=False,
        )


def trusted(found: "Rescored") -> str:
    """Return how far the replay can be trusted: whether the run's own settings give back what was stored."""
    if math.isnan(found.difference):
        return "the run's own credit cannot be replayed: it is compared as it was stored"
    if found.difference <= EXACT:
        return f"the run's own settings give back the stored advantages (largest difference {found.difference:.1g})"
    return (
        f"the run's own settings do not give back the stored advantages (largest difference {found.difference:.2g}, "
        f"rank correlation {found.agreement:+.3f}): credit read more than was kept; more `save_rollouts` keep more"
    )


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "–"
